"""Experts of 8-bit integers: which layers, and what is refused."""

import keras
import numpy as np
import pytest

from keras_moe.experts import GroupedDense
from keras_moe.export.quantized_experts import check_weights
from keras_moe.export.quantized_experts import has_int8_experts
from keras_moe.export.quantized_experts import quantize_experts
from keras_moe.layers import SparseMoE
from keras_moe.ops.all_layers import all_layers

# Layers, whatever the backend.
pytestmark = pytest.mark.once


def make_model():
    """Make a model with a layer of experts and a dense one."""
    return keras.Sequential(
        [
            keras.Input((None, 4)),
            SparseMoE(num_experts=2, intermediate_dim=3, top_k=1),
            keras.layers.Dense(2),
        ]
    )


def test_experts_are_rounded_and_nothing_else(no_collections):
    model = make_model()
    others = [x for x in model.weights if "experts" not in x.path]
    before = [np.copy(keras.ops.convert_to_numpy(x)) for x in others]
    assert not has_int8_experts(model)
    quantize_experts(model)
    assert has_int8_experts(model)
    kernels = [
        x.kernel for x in all_layers(model) if isinstance(x, GroupedDense)
    ]
    assert kernels
    assert {x.dtype for x in model.weights if x.path.endswith("/kernel")} == {
        "int8",
        "float32",
    }
    for old, new in zip(before, others, strict=True):
        np.testing.assert_array_equal(old, keras.ops.convert_to_numpy(new))


@pytest.mark.parametrize("weights", ["int4", "float16", 8])
def test_refuses_other_weights(weights):
    with pytest.raises(ValueError, match="one of.*'int8'.*Received: weights="):
        check_weights(make_model(), weights)


def test_refuses_to_round_a_model_without_experts():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    check_weights(model, None)
    with pytest.raises(ValueError, match="no GroupedDense.*weights=None"):
        check_weights(model, "int8")


def test_refuses_to_round_experts_with_adapters():
    model = make_model()
    check_weights(model, "int8")
    for layer in all_layers(model):
        if isinstance(layer, GroupedDense):
            layer.enable_lora(2)
    with pytest.raises(ValueError, match="with adapters.*merge them"):
        check_weights(model, "int8")
