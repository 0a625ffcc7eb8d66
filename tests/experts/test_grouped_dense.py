"""E dense layers in one: each multiplies its own rows."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_moe.experts import GroupedDense

EXPERTS, HIDDEN, UNITS = 3, 5, 4
# Of seven rows, two behind the last group; the expert in the middle is empty.
SIZES = np.array([2, 0, 3], "int32")
EXPERT_OF_ROW = [0, 0, 2, 2, 2]
# Sums of 5 products of normal numbers in float32, of which 1e-6 is 10 eps.
NEAR = {"rtol": 1e-5, "atol": 1e-6}


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def numpy(tensor):
    return np.array(ops.convert_to_numpy(ops.stop_gradient(tensor)))


def make_layer(**arguments):
    layer = GroupedDense(EXPERTS, UNITS, **arguments)
    layer.build((None, HIDDEN))
    for seed, weight in enumerate(layer.trainable_weights):
        weight.assign(draw(*weight.shape, seed=seed))
    return layer


def loop(rows, experts, kernel, bias=None):
    """Multiply row by row; rows beyond the list stay 0."""
    outputs = np.zeros((len(rows), kernel.shape[-1]))
    for row, expert in enumerate(experts):
        outputs[row] = rows[row].astype("float64") @ kernel[expert]
        if bias is not None:
            outputs[row] += bias[expert]
    return outputs


@pytest.mark.parametrize("use_bias", [False, True])
def test_each_row_is_multiplied_by_its_experts_kernel(use_bias):
    layer = make_layer(use_bias=use_bias)
    weights = [numpy(weight) for weight in layer.trainable_weights]
    assert [weight.shape for weight in weights] == [
        (EXPERTS, HIDDEN, UNITS),
        (EXPERTS, UNITS),
    ][: len(weights)]
    assert len(weights) == 1 + use_bias
    rows = draw(7, HIDDEN, seed=5)
    outputs = numpy(layer(rows, SIZES))
    np.testing.assert_allclose(
        outputs, loop(rows, EXPERT_OF_ROW, *weights), **NEAR
    )
    assert not outputs[5:].any()
    blocks = draw(EXPERTS, 2, HIDDEN, seed=6)
    np.testing.assert_allclose(
        numpy(layer(blocks)).reshape(-1, UNITS),
        loop(blocks.reshape(-1, HIDDEN), [0, 0, 1, 1, 2, 2], *weights),
        **NEAR,
    )


@pytest.mark.parametrize("in_blocks", [False, True])
def test_gradients_are_those_of_the_loop(in_blocks, vjp):
    layer = make_layer(use_bias=True)
    kernel, bias = (numpy(weight) for weight in layer.trainable_weights)
    if in_blocks:
        rows, sizes = draw(EXPERTS, 2, HIDDEN, seed=5), None
        experts = [0, 0, 1, 1, 2, 2]
    else:
        rows, sizes = draw(7, HIDDEN, seed=5), SIZES
        experts = EXPERT_OF_ROW
    cotangent = draw(*rows.shape[:-1], UNITS, seed=6)
    _, gradients = vjp(
        lambda rows, kernel, bias: layer.multiply(rows, sizes, kernel, bias),
        (rows, kernel, bias),
        cotangent,
    )
    flat, pulled = rows.reshape(-1, HIDDEN), cotangent.reshape(-1, UNITS)
    for_rows = np.zeros(flat.shape)
    for_kernel, for_bias = np.zeros(kernel.shape), np.zeros(bias.shape)
    for row, expert in enumerate(experts):
        for_rows[row] = kernel[expert] @ pulled[row]
        for_kernel[expert] += np.outer(flat[row], pulled[row])
        for_bias[expert] += pulled[row]
    expected = [for_rows.reshape(rows.shape), for_kernel, for_bias]
    for gradient, wanted in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(gradient, wanted, **NEAR)


def test_rows_behind_the_last_group_may_hold_anything():
    layer = make_layer(use_bias=True)
    rows = draw(7, HIDDEN)
    expected = numpy(layer(rows, SIZES))
    rows[5:] = np.nan
    np.testing.assert_allclose(numpy(layer(rows, SIZES)), expected, **NEAR)


def test_experts_without_any_row_are_computed_too():
    layer = make_layer(use_bias=True)
    outputs = layer(draw(2, HIDDEN), np.zeros(EXPERTS, "int32"))
    np.testing.assert_array_equal(numpy(outputs), np.zeros((2, UNITS)))


@pytest.mark.parametrize(
    ("policy", "dtype"),
    [("mixed_bfloat16", "bfloat16"), ("mixed_float16", "float16")],
)
def test_outputs_have_the_compute_dtype_with_a_bias_too(policy, dtype):
    layer = make_layer(use_bias=True, dtype=policy)
    for arguments in ((draw(7, HIDDEN), SIZES), (draw(3, 2, HIDDEN), None)):
        outputs = layer(*arguments)
        assert keras.backend.standardize_dtype(outputs.dtype) == dtype
    assert {weight.dtype for weight in layer.weights} == {"float32"}


def test_symbolic_shapes_end_with_the_units():
    layer = GroupedDense(EXPERTS, UNITS)
    assert layer.compute_output_shape((None, HIDDEN)) == (None, UNITS)
    rows = keras.KerasTensor((None, HIDDEN))
    sizes = keras.KerasTensor((EXPERTS,), dtype="int32")
    assert layer(rows, sizes).shape == (None, UNITS)
    blocks = keras.KerasTensor((EXPERTS, None, HIDDEN))
    assert layer(blocks).shape == (EXPERTS, None, UNITS)


def test_the_config_rebuilds_the_layer():
    layer = GroupedDense(
        EXPERTS,
        UNITS,
        use_bias=True,
        num_branches=2,
        kernel_initializer=keras.initializers.HeNormal(seed=2),
        bias_initializer="ones",
        kernel_regularizer=keras.regularizers.L2(0.5),
        kernel_constraint="non_neg",
        dtype="mixed_bfloat16",
        name="dense",
    )
    revived = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(layer)
    )
    assert type(revived) is GroupedDense
    assert revived.get_config() == layer.get_config()
    assert revived.use_bias is True
    assert revived.num_branches == 2
    assert revived.kernel_regularizer.l2 == 0.5
    assert revived.compute_dtype == "bfloat16"
    revived.build((None, HIDDEN))
    np.testing.assert_array_equal(
        numpy(revived.bias), np.ones((EXPERTS, UNITS))
    )


@pytest.mark.parametrize("name", ["num_experts", "units"])
def test_sizes_must_be_positive(name):
    with pytest.raises(ValueError, match=f"`{name}` to be a positive integer"):
        GroupedDense(**{"num_experts": 2, "units": 3, name: 0})
