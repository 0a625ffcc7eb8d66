"""A built layer gets a weight later.

If this fails: Keras has changed how it locks layers. Make the adapters of
`GroupedDense` in `build`, from a constructor argument `lora_rank`.
"""

import keras
import pytest

from keras_moe.experts.late_weights import late_weights


@pytest.fixture
def layer():
    layer = keras.layers.Dense(2)
    layer.build((None, 3))
    return layer


def test_a_late_weight_is_trained(layer):
    with late_weights(layer):
        late = layer.add_weight(name="late", shape=(2,))
    assert any(each is late for each in layer.trainable_variables)


def test_afterwards_and_after_an_error_the_layer_is_locked_again(layer):
    with pytest.raises(KeyError), late_weights(layer):
        raise KeyError
    with pytest.raises(ValueError):
        layer.add_weight(name="later", shape=(2,))
