"""Rotation by position."""

import keras
import numpy as np
from keras import ops

from keras_moe.blocks import rotary_frequencies
from keras_moe.blocks import rotate


def rotate_by_hand(inputs, positions, max_wavelength):
    """Turn each pair (i, i + D/2) as a complex number."""
    half = inputs.shape[-1] // 2
    outputs = np.empty_like(inputs)
    for token, position in enumerate(positions):
        for i in range(half):
            angle = position * max_wavelength ** (-i / half)
            pair = inputs[:, token, :, i] + 1j * inputs[:, token, :, i + half]
            turned = pair * np.exp(1j * angle)
            outputs[:, token, :, i] = turned.real
            outputs[:, token, :, i + half] = turned.imag
    return outputs


def test_pairs_turn_like_complex_numbers():
    inputs = np.random.default_rng(0).normal(size=(2, 5, 3, 8))
    positions = [0, 1, 2, 7, 30]
    frequencies = rotary_frequencies(8, 100.0)
    outputs = rotate(inputs.astype("float32"), np.array(positions), frequencies)
    expected = rotate_by_hand(inputs, positions, 100.0)
    np.testing.assert_allclose(
        ops.convert_to_numpy(outputs), expected, atol=1e-5
    )


def test_scaling_factor_divides_the_positions():
    inputs = np.random.default_rng(0).normal(size=(1, 3, 1, 4))
    inputs = inputs.astype("float32")
    slow = rotary_frequencies(4, scaling_factor=8.0)
    scaled = rotate(inputs, np.array([0, 8, 16]), slow)
    plain = rotate(inputs, np.array([0, 1, 2]), rotary_frequencies(4))
    np.testing.assert_allclose(
        ops.convert_to_numpy(scaled), ops.convert_to_numpy(plain), atol=1e-6
    )


def test_angles_are_float32_for_bfloat16_inputs():
    inputs = np.random.default_rng(0).normal(size=(1, 2, 1, 4))
    # 1001 is no bfloat16: both positions would be the same angle.
    positions = np.array([1000, 1001])
    frequencies = rotary_frequencies(4)
    full = rotate(inputs.astype("float32"), positions, frequencies)
    full = ops.convert_to_numpy(full)
    half = rotate(ops.cast(inputs, "bfloat16"), positions, frequencies)
    assert keras.backend.standardize_dtype(half.dtype) == "bfloat16"
    half = ops.convert_to_numpy(ops.cast(half, "float32"))
    np.testing.assert_allclose(half, full, atol=0.03)


def test_interleaved_pairs_are_neighbours():
    inputs = np.random.default_rng(0).normal(size=(2, 3, 2, 6))
    inputs = inputs.astype("float32")
    positions, frequencies = np.arange(3), rotary_frequencies(6)
    halves = np.concatenate([inputs[..., ::2], inputs[..., 1::2]], axis=-1)
    expected = ops.convert_to_numpy(rotate(halves, positions, frequencies))
    outputs = rotate(inputs, positions, frequencies, interleaved=True)
    outputs = ops.convert_to_numpy(outputs)
    np.testing.assert_allclose(outputs[..., ::2], expected[..., :3], atol=1e-6)
    np.testing.assert_allclose(outputs[..., 1::2], expected[..., 3:], atol=1e-6)


def test_features_without_frequency_stay_and_the_magnitude_multiplies():
    inputs = np.random.default_rng(0).normal(size=(1, 3, 2, 6))
    inputs = inputs.astype("float32")
    frequencies = rotary_frequencies(4)
    outputs = rotate(inputs, np.arange(3), frequencies, magnitude=2.0)
    outputs = ops.convert_to_numpy(outputs)
    np.testing.assert_array_equal(outputs[..., 4:], inputs[..., 4:])
    turned = rotate(inputs[..., :4], np.arange(3), frequencies)
    turned = ops.convert_to_numpy(turned)
    np.testing.assert_allclose(outputs[..., :4], 2 * turned, atol=1e-6)
