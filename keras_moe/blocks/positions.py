"""Which positions the tokens of a call have."""

from keras import ops


def positions_from(start, length):
    """Number tokens that follow each other.

    Args:
        start: int or int32 scalar tensor, the first position; or one for each
            row, an int32 tensor of shape (B,).
        length: int or scalar tensor L.

    Returns:
        int32 tensor of shape (L,), or (B, L) with a start for each row.

    Example:

    >>> import numpy as np
    >>> np.array(positions_from(np.array([0, 5], "int32"), 2)).tolist()
    [[0, 1], [5, 6]]
    """
    if len(getattr(start, "shape", ())):
        start = ops.cast(start, "int32")[:, None]
    return start + ops.arange(length, dtype="int32")
