import keras
import numpy as np
import pytest
from keras import ops

from keras_moe.blocks import ReversibleEmbedding


@pytest.mark.parametrize("tie_weights", [True, False])
def test_it_computes_what_kerass_own_does(tie_weights):
    ours = ReversibleEmbedding(7, 4, tie_weights)
    theirs = keras.layers.ReversibleEmbedding(7, 4, tie_weights)
    ids = np.array([[3, 0, 6]])
    for layer in (ours, theirs):
        layer.build()
    theirs.set_weights(ours.get_weights())
    vectors = [each(ids) for each in (ours, theirs)]
    scores = [each(vectors[0], reverse=True) for each in (ours, theirs)]
    for pair in (vectors, scores):
        pair = [ops.convert_to_numpy(ops.stop_gradient(x)) for x in pair]
        np.testing.assert_array_equal(*pair)
