import keras
import numpy as np
import pytest
from keras import ops

from keras_moe import models
from keras_moe.layers import SparseMoE
from keras_moe.surgery import measure_expert_load
from tests.models.small_backbones import SMALL


def test_fractions_of_all_batches_are_counted_by_hand():
    layer = SparseMoE(3, 4, top_k=1, name="layer")
    layer.build((None, 3))
    layer.router.kernel.assign(np.eye(3))
    batches = [
        np.eye(3, dtype="float32")[[experts]] for experts in ([0, 0], [2, 0])
    ]
    load = measure_expert_load(layer, batches)
    np.testing.assert_allclose(load["layer"], [0.75, 0.0, 0.25])


@pytest.mark.sweep
def test_padding_does_not_count():
    backbone = models.MixtralBackbone(**SMALL)
    token_ids, mask = np.array([[3, 7, 9]]), np.array([[1, 0, 0]])
    inputs = {"token_ids": token_ids, "padding_mask": mask}
    load = measure_expert_load(backbone, [inputs])
    assert [*load] == [
        f"decoder_block_{index}/sparse_moe" for index in range(2)
    ]
    for fractions in load.values():  # One token, two experts.
        assert sorted(fractions.tolist()) == [0.0, 0.0, 0.5, 0.5]


@pytest.mark.once
def test_no_token_and_no_layer_are_refused(with_feed_forward, with_experts):
    with pytest.raises(ValueError, match="batches with real tokens"):
        measure_expert_load(with_experts(), [])
    with pytest.raises(ValueError, match="batches with real tokens"):
        measure_expert_load(with_feed_forward(), [])


@pytest.mark.once
def test_a_layer_that_is_called_twice_is_refused(tokens):
    layer = SparseMoE(3, 4)
    inputs = keras.Input(tokens.shape[1:])
    model = keras.Model(inputs, layer(layer(inputs)))
    with pytest.raises(
        ValueError, match="calls each of its sparse layers once"
    ):
        measure_expert_load(model, [ops.convert_to_tensor(tokens)])
