"""Rotary position embedding."""

from keras import ops


def rotate(inputs, positions, max_wavelength=10_000.0, scaling_factor=1.0):
    """Rotate each pair of features by an angle that grows with position.

    Feature i turns together with feature i + D / 2 (the "half" layout of the
    published Mixtral, Llama and Qwen weights) by
    `position / scaling_factor * max_wavelength ** (-2 i / D)`. The scalar
    product of two rotated vectors depends on their distance alone (RoFormer,
    https://arxiv.org/abs/2104.09864, equation 34). Angles are float32: in
    bfloat16 positions beyond 256 would fall together.

    Args:
        inputs: float tensor of shape (B, L, N, D), D even.
        positions: int32 tensor of shape (L,) or (B, L), in tokens.
        max_wavelength: float, the published `rope_theta`.
        scaling_factor: float, divides the positions.

    Returns:
        Tensor of the shape and dtype of `inputs`.

    Example:

    >>> import numpy as np
    >>> inputs = np.ones((1, 3, 2, 4), "float32")
    >>> outputs = rotate(inputs, np.arange(3))
    >>> bool(np.allclose(outputs[:, 0], 1.0))  # position 0 stays
    True
    """
    half = inputs.shape[-1] // 2
    exponent = ops.arange(half, dtype="float32") / half
    frequency = ops.power(float(max_wavelength), -exponent)
    positions = ops.cast(positions, "float32") / scaling_factor
    angle = positions[..., None] * frequency  # (L, D / 2) or (B, L, D / 2)
    cosine = ops.cos(angle)[..., None, :]
    sine = ops.sin(angle)[..., None, :]
    first, second = ops.split(ops.cast(inputs, "float32"), 2, axis=-1)
    rotated = ops.concatenate(
        [first * cosine - second * sine, second * cosine + first * sine],
        axis=-1,
    )
    return ops.cast(rotated, inputs.dtype)
