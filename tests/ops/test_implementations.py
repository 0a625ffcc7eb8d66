"""The table that chooses the grouped product, and every product in it."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_moe import testing
from keras_moe.ops import choose_implementation
from keras_moe.ops import grouped_matmul
from keras_moe.ops.backend import load
from keras_moe.ops.implementations import TABLE

IMPLEMENTATIONS = load("grouped_kernels").IMPLEMENTATIONS


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("jax", "cpu"), "blocks"),
        (("jax", "cpu", "float32", 17), "blocks"),
        (("jax", "cpu", "float32", 16), "row_tiles"),
        (("jax", "tpu", "float32", 1), "megablox"),
        (("jax", "cuda", "bfloat16"), "mosaic_gpu"),
        (("jax", "cuda", "float32"), "long_blocks"),
        (("jax", "rocm"), "ragged_dot"),
        (("jax", "tpu", "bfloat16"), "megablox"),
        (("jax", "tpu", "float16"), "ragged_dot"),
        (("torch", "cuda", "bfloat16"), "grouped_mm"),
        (("torch", "cuda", "float16"), "grouped_mm"),
        (("torch", "cuda", "float32"), "loop"),
        # 12 numbers of 2 bytes are not whole 16 bytes.
        (("torch", "cuda", "bfloat16", None, False, False), "loop"),
        (("torch", "cpu", "bfloat16"), "threads"),
        (("torch", "mps"), "loop"),
        (("tensorflow", "cpu"), "split"),
        (("tensorflow", "cpu", "float32", None, True), "blocks"),
    ],
)
def test_the_table_chooses(arguments, expected):
    assert choose_implementation(*arguments).implementation == expected


def test_a_choice_explains_itself():
    for rule in TABLE:
        assert len(rule.reason.split()) > 4
    choice = choose_implementation("jax", "cpu")
    assert str(choice) == f"blocks: {choice.reason}."


def test_an_unknown_backend_is_an_error_that_lists_the_known():
    with pytest.raises(ValueError, match="'jax', 'tensorflow', 'torch'"):
        choose_implementation("mxnet", "cpu")


def test_every_name_of_the_table_is_implemented(backend):
    names = {rule.implementation for rule in TABLE if rule.backend == backend}
    assert names <= set(IMPLEMENTATIONS)


def test_an_unknown_name_is_an_error_that_lists_the_known():
    arrays = np.ones((2, 3), "float32"), np.ones((1, 3, 4), "float32")
    with pytest.raises(ValueError, match="'auto', 'bl|'auto', 'lo"):
        grouped_matmul(*arrays, np.array([2]), implementation="fastest")


# The kernels of one device and of half precision have tests of their own.
@pytest.mark.parametrize(
    "implementation",
    [n for n in IMPLEMENTATIONS if n not in ("grouped_mm", "megablox")],
)
@pytest.mark.parametrize(
    "group_sizes", [[0, 3, 0, 11], [21, 0, 0, 0], [1, 8, 7, 5], [0, 0, 0, 0]]
)
def test_every_implementation_agrees_with_the_oracle(
    vjp, implementation, group_sizes
):
    rng = np.random.default_rng(0)
    inputs, kernels, cotangent = (
        rng.standard_normal(shape).astype("float32")
        for shape in ((21, 3), (4, 3, 5), (21, 5))
    )
    group_sizes = np.array(group_sizes, "int32")
    outputs, gradients = vjp(
        lambda inputs, kernels: grouped_matmul(
            inputs,
            kernels,
            ops.convert_to_tensor(group_sizes),
            implementation,
        ),
        (inputs, kernels),
        cotangent,
    )
    arguments = inputs, kernels, group_sizes
    np.testing.assert_allclose(
        outputs, testing.grouped_matmul(*arguments), rtol=1e-5, atol=1e-5
    )
    expected = testing.grouped_matmul_gradients(*arguments, cotangent)
    for actual, wanted in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=1e-5, atol=1e-5)


def test_a_layer_hands_its_choice_down_and_keeps_it_when_saved(backend):
    from keras_moe.layers import SharedExpertMoE
    from keras_moe.layers import SparseMoE

    name = list(IMPLEMENTATIONS)[0]
    for layer_class in (SparseMoE, SharedExpertMoE):
        layer = layer_class(4, 8, implementation=name)
        restored = layer_class.from_config(layer.get_config())
        for each in (layer, restored):
            sparse = getattr(each, "routed_experts", each)
            assert sparse.experts.implementation == name
    layer = SparseMoE(4, 8, implementation="fastest")
    with pytest.raises(ValueError, match="implementation='fastest'"):
        layer(keras.ops.ones((2, 3)))
