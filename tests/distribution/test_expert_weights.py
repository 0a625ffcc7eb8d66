import keras
import pytest

from keras_moe.distribution import expert_weights
from keras_moe.distribution import is_expert_weight
from keras_moe.layers import SparseMoE


def test_all_that_a_bank_holds_is_the_experts_and_nothing_else():
    layer = SparseMoE(4, 8, shared_experts=keras.layers.Dense(6))
    layer.build((None, 3, 6))
    layer.experts.down.enable_lora(2)
    found = {
        weight.path for weight in layer.weights if is_expert_weight(weight)
    }
    assert found == {weight.path for weight in layer.experts.weights}
    assert len(found) == 4


def test_integers_and_their_scales_are_the_experts(no_collections):
    layer = SparseMoE(4, 8)
    layer.build((None, 3, 6))
    layer.experts.down.quantize("int8")
    kernel, scale = layer.experts.down.weights
    assert kernel.dtype == "int8"
    assert is_expert_weight(kernel)
    assert is_expert_weight(scale)


def test_a_weight_is_known_while_it_is_made_and_not_after_an_error():
    seen = []

    def initializer(shape, dtype=None):
        seen.append(is_expert_weight(None))
        raise KeyError

    with pytest.raises(KeyError), expert_weights() as mark:
        mark(keras.Variable(initializer, shape=(1,)))
    assert seen == [True]
    assert not is_expert_weight(None)
