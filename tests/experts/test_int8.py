"""Experts whose kernels are 8-bit integers with a scale for each output."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_moe.experts import GroupedDense
from keras_moe.layers import SparseMoE

pytestmark = pytest.mark.usefixtures("no_collections")

EXPERTS, HIDDEN, UNITS, RANK = 3, 5, 4, 2
SIZES = np.array([2, 0, 3], "int32")


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def numpy(tensor):
    return np.array(ops.convert_to_numpy(ops.stop_gradient(tensor)))


def round_kernel(kernel):
    """Round as the rule says: 127 steps up to each output's largest number."""
    step = np.abs(kernel).max(axis=1, keepdims=True) / 127
    return np.round(kernel / step) * step


def make_layer(quantized=True, **arguments):
    layer = GroupedDense(EXPERTS, UNITS, use_bias=True, **arguments)
    layer.build((None, HIDDEN))
    layer._kernel.assign(draw(EXPERTS, HIDDEN, UNITS, seed=3))
    layer.bias.assign(draw(EXPERTS, UNITS))
    if quantized:
        layer.quantize("int8")
    return layer


def make_model():
    inputs = keras.Input((3, HIDDEN))
    layer = SparseMoE(EXPERTS, UNITS, name="sparse")
    return keras.Model(inputs, layer(inputs)), layer


def quantize_experts(layer):
    for part in layer.experts.parts():
        part.quantize("int8")


def test_kernels_are_rounded_per_expert_and_output():
    kernel = draw(EXPERTS, HIDDEN, UNITS, seed=3)
    layer = make_layer()
    expected = round_kernel(kernel)
    # The scale is rounded to float32 once, and so is the quotient.
    np.testing.assert_allclose(numpy(layer.kernel), expected, rtol=1e-6)
    largest = np.abs(kernel).max(axis=1, keepdims=True)
    assert np.all(np.abs(expected - kernel) <= largest / 254 * 1.001)
    assert keras.backend.standardize_dtype(layer._kernel.dtype) == "int8"
    assert [each.name for each in layer.trainable_weights] == ["bias"]


def test_an_output_of_zeros_stays_zero():
    layer = make_layer(quantized=False)
    layer._kernel.assign(np.zeros((EXPERTS, HIDDEN, UNITS)))
    layer.quantize("int8")
    np.testing.assert_array_equal(numpy(layer.kernel), 0)


def test_outputs_and_gradients_are_those_of_the_rounded_kernel():
    kernel = round_kernel(draw(EXPERTS, HIDDEN, UNITS, seed=3))
    rows = draw(5, HIDDEN, seed=4)
    group = np.repeat(np.arange(EXPERTS), SIZES)
    expected = np.einsum("rh,rhf->rf", rows, kernel[group])
    expected += draw(EXPERTS, UNITS)[group]
    layer = make_layer()
    np.testing.assert_allclose(numpy(layer(rows, SIZES)), expected, atol=1e-5)

    # d sum(outputs ** 2) / d bias, the only weight that is trained.
    inputs = keras.Input((HIDDEN,))
    model = keras.Model(inputs, _Whole(layer)(inputs))
    model.compile(keras.optimizers.SGD(1.0), loss=_sum_of_squares)
    before = numpy(layer.bias)
    model.train_on_batch(rows, np.zeros((5, UNITS)))
    gradient = np.stack(
        [2 * expected[group == index].sum(0) for index in range(EXPERTS)]
    )
    np.testing.assert_allclose(
        before - numpy(layer.bias), gradient, rtol=1e-4, atol=1e-4
    )


class _Whole(keras.layers.Layer):
    """Calls grouped rows with sizes that are known."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer
        self.built = True

    def call(self, rows):
        return self.layer(rows, SIZES)

    def compute_output_shape(self, rows_shape):
        return (*rows_shape[:-1], UNITS)


def _sum_of_squares(y_true, y_pred):
    return ops.sum(ops.square(y_pred))


@pytest.mark.sweep
@pytest.mark.parametrize("dtype", ["bfloat16", "mixed_bfloat16"])
def test_narrow_policies_compute_as_before(dtype):
    layer = make_layer(dtype=dtype)
    assert layer.dtype_policy.name == f"int8_from_{dtype}"
    outputs = layer(draw(5, HIDDEN, seed=4), SIZES)
    assert keras.backend.standardize_dtype(outputs.dtype) == "bfloat16"


@pytest.mark.sweep
@pytest.mark.parametrize("again", ["config", "weights"])
def test_a_file_keeps_the_integers(again, tmp_path):
    model, layer = make_model()
    quantize_experts(layer)
    inputs = draw(2, 3, HIDDEN)
    expected = model.predict_on_batch(inputs)
    if again == "config":
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
    else:
        model.save_weights(tmp_path / "model.weights.h5")
        loaded, _ = make_model()
        loaded.load_weights(tmp_path / "model.weights.h5")
    part = loaded.get_layer("sparse").experts.down
    assert part.quantization_mode == "int8"
    np.testing.assert_array_equal(
        numpy(part._kernel), numpy(layer.experts.down._kernel)
    )
    # The same numbers, multiplied by the same program.
    np.testing.assert_allclose(
        loaded.predict_on_batch(inputs), expected, rtol=1e-6, atol=1e-6
    )


@pytest.mark.sweep
def test_an_adapter_trains_over_integers_and_is_rounded_into_them(tmp_path):
    model, layer = make_model()
    quantize_experts(layer)
    for part in layer.experts.parts():
        part.enable_lora(RANK)
        part.lora_kernel_b.assign(draw(*part.lora_kernel_b.shape, seed=2))
    model.compile(keras.optimizers.SGD(0.1), loss="mse")
    before = numpy(layer.experts.down.lora_kernel_a)
    integers = numpy(layer.experts.down._kernel)
    model.train_on_batch(draw(2, 3, HIDDEN), draw(2, 3, HIDDEN, seed=1))
    assert np.any(numpy(layer.experts.down.lora_kernel_a) != before)
    np.testing.assert_array_equal(numpy(layer.experts.down._kernel), integers)
    model.save_weights(tmp_path / "model.weights.h5")
    merged, _ = make_model()
    merged.load_weights(tmp_path / "model.weights.h5")
    down = merged.get_layer("sparse").experts.down
    np.testing.assert_allclose(
        numpy(down.kernel),
        round_kernel(numpy(layer.experts.down.kernel)),
        rtol=1e-5,
        atol=1e-7,
    )


def test_what_cannot_be_quantized_is_refused_with_the_cure():
    with pytest.raises(ValueError, match="not built yet"):  # Keras' words.
        GroupedDense(EXPERTS, UNITS).quantize("int8")
    layer = make_layer(quantized=False)
    with pytest.raises(NotImplementedError, match="mode='int8'.*'float8'"):
        layer.quantize("float8")
    layer.enable_lora(RANK)
    with pytest.raises(ValueError, match="lora_enabled=True.*before"):
        layer.quantize("int8")
