"""Stable sorting, ranking and counting of expert indices.

`keras.ops` leaves stability to the backend (`argsort`), returns int64 on
torch (`top_k`) and does not compile everywhere (`bincount`), so these four
have one file per backend.
"""

from keras import ops

from keras_moe.ops.backend import load
from keras_moe.ops.backend import load_or
from keras_moe.ops.plain_numbers import to_plain
from keras_moe.ops.widen import int32

_sorting = load("sorting")
_on_own_rows = getattr(
    load_or("own_rows", None), "on_own_rows", lambda function: function
)


def top_k(scores, k):
    """Return the indices of the `k` largest scores; ties: lower index first.

    Args:
        scores: float tensor of shape (..., E).
        k: int, at most E.

    Returns:
        int32 tensor of shape (..., k). No gradient.

    Example:

    >>> import numpy as np
    >>> np.array(top_k(np.array([0.5, 0.9, 0.9], "float32"), 2)).tolist()
    [1, 2]
    """
    k = to_plain(k)
    return _on_own_rows(lambda scores: _sorting.top_k(scores, k))(scores)


def stable_argsort(values, largest=None):
    """Return the order that sorts the last axis; equals keep their order.

    Args:
        values: int32 or float tensor of shape (..., R). No gradient.
        largest: optional int, which no value exceeds; then `values` are
            int32 and not negative, which sorts faster on JAX.

    Returns:
        int32 tensor of shape (..., R).

    Example:

    >>> import numpy as np
    >>> np.array(stable_argsort(np.array([1, 0, 1, 0], "int32"))).tolist()
    [1, 3, 0, 2]
    """
    largest = to_plain(largest)
    return _on_own_rows(
        lambda values: _sorting.stable_argsort(values, largest)
    )(values)


def invert_permutation(order):
    """Return the permutation that undoes `order` along the last axis.

    Args:
        order: int32 tensor of shape (..., R), a permutation in each row.

    Returns:
        int32 tensor of shape (..., R).

    Example:

    >>> import numpy as np
    >>> np.array(invert_permutation(np.array([2, 0, 1], "int32"))).tolist()
    [1, 2, 0]
    """
    return _on_own_rows(_sorting.invert_permutation)(int32(order))


def count(values, num_values):
    """Count how often each of `0 .. num_values - 1` occurs in each row.

    Args:
        values: int32 tensor of shape (R,) or (G, R), not negative; entries
            of `num_values` or more are not counted.
        num_values: int, E.

    Returns:
        int32 tensor of shape (E,) or (G, E).

    Example:

    >>> import numpy as np
    >>> np.array(count(np.array([1, 1, 3], "int32"), 3)).tolist()
    [0, 2, 0]
    """
    values, num_values = int32(values), to_plain(num_values)
    if len(values.shape) == 1:
        return _sorting.count(values, num_values)
    return _on_own_rows(lambda values: _count_rows(values, num_values))(values)


def _count_rows(values, num_values):
    # One long row of counts, each group in a stretch of its own; the last
    # entry of a stretch takes what is not counted.
    num_groups = ops.shape(values)[0]
    stretch = num_values + 1
    offset = stretch * ops.arange(num_groups, dtype="int32")[:, None]
    values = ops.minimum(values, int32(num_values)) + offset
    counts = _sorting.count(ops.reshape(values, (-1,)), num_groups * stretch)
    return ops.reshape(counts, (num_groups, stretch))[:, :num_values]
