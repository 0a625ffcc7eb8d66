"""Rotary position embedding."""

import numpy as np
from keras import ops

from keras_moe.ops.widen import widen


def rotate(inputs, positions, frequencies, interleaved=False, magnitude=1.0):
    """Rotate pairs of features by an angle that grows with position.

    The scalar product of two rotated vectors depends on their distance alone
    (RoFormer, https://arxiv.org/abs/2104.09864, equation 34). Angles are
    float32: in bfloat16 positions beyond 256 would fall together.

    Args:
        inputs: float tensor of shape (B, L, N, D).
        positions: int32 tensor of shape (L,) or (B, L), in tokens.
        frequencies: float32 array of shape (P,), P <= D / 2, in radians per
            token. Features past the first 2 P stay as they are.
        interleaved: bool. `False` turns feature i together with feature
            i + P (Llama, Mixtral, Qwen), `True` features 2i and 2i + 1
            (RoFormer, DeepSeek).
        magnitude: float, multiplies the rotated features (YaRN).

    Returns:
        Tensor of the shape and dtype of `inputs`.

    Example:

    >>> inputs = np.ones((1, 3, 2, 4), "float32")
    >>> outputs = rotate(inputs, np.arange(3), rotary_frequencies(4))
    >>> bool(np.allclose(outputs[:, 0], 1.0))  # position 0 stays
    True
    """
    positions = ops.cast(positions, "float32")
    frequencies = ops.convert_to_tensor(frequencies)
    angle = positions[..., None] * frequencies  # (L, P) or (B, L, P)
    cosine = (ops.cos(angle) * magnitude)[..., None, :]
    sine = (ops.sin(angle) * magnitude)[..., None, :]
    num_pairs = frequencies.shape[0]
    turned, rest = inputs[..., : 2 * num_pairs], inputs[..., 2 * num_pairs :]
    turned = widen(turned)
    if interleaved:
        shape = (*ops.shape(turned)[:-1], num_pairs, 2)
        pairs = ops.reshape(turned, shape)
        first, second = pairs[..., 0], pairs[..., 1]
    else:
        first, second = ops.split(turned, 2, axis=-1)
    rotated = (
        first * cosine - second * sine,
        second * cosine + first * sine,
    )
    if interleaved:
        rotated = ops.reshape(ops.stack(rotated, -1), ops.shape(turned))
    else:
        rotated = ops.concatenate(rotated, axis=-1)
    rotated = ops.cast(rotated, inputs.dtype)
    if 2 * num_pairs == inputs.shape[-1]:
        return rotated
    return ops.concatenate([rotated, rest], axis=-1)


def rotary_frequencies(dim, max_wavelength=10_000.0, scaling_factor=1.0):
    """Return how fast each pair of features turns.

    Args:
        dim: int, even: how many features turn.
        max_wavelength: float, the published `rope_theta`.
        scaling_factor: float, divides the frequencies.

    Returns:
        float32 array of shape (dim / 2,), `max_wavelength ** (-2 i / dim)`
        over `scaling_factor`, in radians per token.

    Example:

    >>> rotary_frequencies(4, max_wavelength=100.0).tolist()
    [1.0, 0.10000000149011612]
    """
    exponent = np.arange(dim // 2) / (dim // 2)
    frequencies = float(max_wavelength) ** -exponent / scaling_factor
    return frequencies.astype("float32")
