"""Where a key/value cache keeps which position.

A cache of C slots keeps position p in slot p modulo C. Of a sliding window
no more than C = window positions are ever looked at, so that many slots
serve a sequence of any length; without a window C is the whole length and
nothing is ever overwritten.
"""

from keras import ops

from keras_moe.ops.widen import int32


def slot_positions(last, num_slots):
    """Return the position that each slot holds.

    Args:
        last: int or int32 tensor of shape () or (1,), the latest position
            written; or one for each row, of shape (B, 1).
        num_slots: int C.

    Returns:
        int32 tensor of shape (C,) or (B, C), the largest position up to
        `last` that belongs in the slot; negative where nothing was written
        yet.

    Example:

    >>> import numpy as np
    >>> np.array(slot_positions(last=4, num_slots=3)).tolist()
    [3, 4, 2]
    >>> np.array(slot_positions(last=1, num_slots=3)).tolist()
    [0, 1, -1]
    """
    slots = ops.arange(num_slots, dtype="int32")
    return last - ops.mod(last - slots, int32(num_slots))


def roll(cache, length, num_slots):
    """Keep the latest positions of a cache that holds all of them.

    Args:
        cache: tensor of shape (B, M, X, D), position p in slot p.
        length: int or int32 scalar tensor, how many positions count; or one
            for each row, an int32 tensor of shape (B,).
        num_slots: int C, at most X.

    Returns:
        Tensor of shape (B, M, C, D), position p in slot p modulo C.

    Example:

    >>> import numpy as np
    >>> cache = np.arange(5.0).reshape(1, 1, 5, 1)
    >>> np.array(roll(cache, length=5, num_slots=3)).ravel().tolist()
    [3.0, 4.0, 2.0]
    """
    is_per_row = len(getattr(length, "shape", ())) > 0
    last = length[:, None] - 1 if is_per_row else length - 1
    positions = ops.maximum(slot_positions(last, num_slots), int32(0))
    if is_per_row:
        positions = positions[:, None, :, None]
        return ops.take_along_axis(cache, positions, axis=2)
    return ops.take(cache, positions, axis=2)
