"""Tokens to rows sorted by expert, and back.

Both directions and both gradients are gathers: the permutation and its
inverse are known, so nothing needs the scatter-add that automatic
differentiation of a gather would use (slow on CPU, unordered on GPU).
"""

from keras import ops

from keras_moe.ops import row_sums
from keras_moe.ops.backend import load_or
from keras_moe.ops.gradients import custom_vjp
from keras_moe.ops.widen import int32

_row_sums = load_or("row_sums", row_sums)


def gather_rows(tokens, order, inverse):
    """Copy each token to the rows of its K choices, sorted by expert.

    Args:
        tokens: float tensor of shape (T, H).
        order: int32 tensor of shape (R,): row r holds the (token, choice)
            pair `order[r]`, where pair t * K + k is choice k of token t.
        inverse: int32 tensor of shape (T, K): the row of each pair.

    Returns:
        Tensor of shape (R, H), of the dtype of `tokens`.

    Example:

    >>> import numpy as np
    >>> tokens = np.array([[1.0], [2.0]], "float32")
    >>> order = np.array([1, 0], "int32")
    >>> rows = gather_rows(tokens, order, order[:, None])
    >>> np.array(rows).tolist()
    [[2.0], [1.0]]
    """
    tokens = ops.convert_to_tensor(tokens)
    return _gather_rows((tokens,), (int32(order), int32(inverse)))


def combine_rows(rows, weights, order, inverse):
    """Add up each token's rows, weighted: the inverse of `gather_rows`.

    Args:
        rows: float tensor of shape (R, H).
        weights: float tensor of shape (T, K).
        order: int32 tensor of shape (R,), as for `gather_rows`.
        inverse: int32 tensor of shape (T, K), as for `gather_rows`.

    Returns:
        Tensor of shape (T, H), of the dtype of `rows`; the sum over the K
        choices is taken in the wider of both dtypes.

    Example:

    >>> import numpy as np
    >>> rows = np.array([[2.0], [1.0]], "float32")
    >>> order = np.array([1, 0], "int32")
    >>> weights = np.array([[0.5], [3.0]], "float32")
    >>> np.array(combine_rows(rows, weights, order, order[:, None])).tolist()
    [[0.5], [6.0]]
    """
    rows, weights = ops.convert_to_tensor(rows), ops.convert_to_tensor(weights)
    return _combine_rows((rows, weights), (int32(order), int32(inverse)))


def _gather(tokens, order, inverse):
    return _row_sums.copy_rows(tokens, order // inverse.shape[1])


def _gather_gradient(tokens, order, inverse, cotangent):
    return (_row_sums.sum_rows(cotangent, inverse),)


def _combine(rows, weights, order, inverse):
    return _row_sums.sum_weighted_rows(rows, weights, inverse)


_gather_rows = custom_vjp(_gather, _gather_gradient)
_combine_rows = custom_vjp(_combine, _row_sums.sum_weighted_rows_gradient)
