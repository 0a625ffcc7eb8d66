"""8-bit weights with one scale for each block."""

import numpy as np


def scale_blocks(weight, scales, block_size):
    """Multiply each block of a matrix by its scale.

    Weights of DeepSeek-V3 (https://arxiv.org/abs/2412.19437, section 3.3.2)
    are 8-bit floats with one float32 scale per 128 x 128. The last block of
    a row or column may be partial: the block's size is never derived from
    the shapes.

    Args:
        weight: array of shape (O, D), of any float dtype.
        scales: array of shape (ceil(O / P), ceil(D / Q)).
        block_size: pair of ints P, Q.

    Returns:
        float32 array of shape (O, D).

    Raises:
        ValueError: If the number of scales does not fit.

    Example:

    >>> scale_blocks(np.ones((3, 2)), np.array([[2.0], [5.0]]), (2, 2)).tolist()
    [[2.0, 2.0], [2.0, 2.0], [5.0, 5.0]]
    """
    check_scales(weight.shape, scales.shape, block_size)
    scales = np.asarray(scales, "float32")
    for axis, block in enumerate(block_size):
        scales = np.repeat(scales, block, axis=axis)
    rows, columns = weight.shape
    return weight.astype("float32") * scales[:rows, :columns]


def check_scales(weight_shape, scales_shape, block_size, name="a weight"):
    """Raise unless there is one scale for each block.

    Args:
        weight_shape: tuple (O, D).
        scales_shape: tuple (ceil(O / P), ceil(D / Q)).
        block_size: pair of ints P, Q.
        name: str, the weight's, for the message.

    Raises:
        ValueError: If the number of scales does not fit, or the weight is
            no matrix.

    Example:

    >>> check_scales((576, 7168), (5, 56), (128, 128))
    """
    if len(weight_shape) != 2:
        raise ValueError(
            "Expected block scales of a matrix. Received: scales of "
            f"{name} of shape {tuple(weight_shape)}."
        )
    fitting = tuple(
        -(-size // block)
        for size, block in zip(weight_shape, block_size, strict=True)
    )
    if tuple(scales_shape) != fitting:
        raise ValueError(
            f"Expected scales of shape {fitting} for {name} of shape "
            f"{tuple(weight_shape)} in blocks of {tuple(block_size)}. "
            f"Received: {tuple(scales_shape)}. Check `weight_block_size`."
        )
