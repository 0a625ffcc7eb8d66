"""8-bit weights with one scale for each block."""

import numpy as np


def scale_blocks(weight, scales, block_size):
    """Multiply each block of a matrix by its scale.

    Weights of DeepSeek-V3 (https://arxiv.org/abs/2412.19437, section 3.3.2)
    are 8-bit floats with one float32 scale per 128 x 128. The last block of
    a row or column may be partial: the block's size is never derived from
    the shapes.

    Args:
        weight: array of shape (O, D).
        scales: float32 array of shape (ceil(O / P), ceil(D / Q)).
        block_size: pair of ints P, Q.

    Returns:
        float32 array of shape (O, D).

    Raises:
        ValueError: If the number of scales does not fit.

    Example:

    >>> scale_blocks(np.ones((3, 2)), np.array([[2.0], [5.0]]), (2, 2)).tolist()
    [[2.0, 2.0], [2.0, 2.0], [5.0, 5.0]]
    """
    fitting = tuple(
        -(-size // block)
        for size, block in zip(weight.shape, block_size, strict=True)
    )
    if scales.shape != fitting:
        raise ValueError(
            f"Expected scales of shape {fitting} for a weight of shape "
            f"{weight.shape} in blocks of {tuple(block_size)}. "
            f"Received: {scales.shape}. Check `weight_block_size`."
        )
    scales = np.asarray(scales, "float32")
    for axis, block in enumerate(block_size):
        scales = np.repeat(scales, block, axis=axis)
    rows, columns = weight.shape
    return weight.astype("float32") * scales[:rows, :columns]
