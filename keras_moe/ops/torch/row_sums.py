"""Copies of tokens and sums over rows on PyTorch, each in one pass.

`embedding_bag` looks up rows and adds them up without writing them out in
between: 4 to 15 times the speed of K lookups and K sums. It wants weights of
the rows' dtype, and on a GPU there is something faster.
"""

import torch
from torch.nn.functional import embedding_bag

from keras_moe.ops import row_sums
from keras_moe.ops.torch import one_pass
from keras_moe.ops.torch.new_memory import new_memory


def copy_rows(tokens, index):
    rows = new_memory((index.shape[0], tokens.shape[1]), tokens)
    return torch.index_select(tokens, 0, index, out=rows)


def sum_rows(rows, inverse):
    if one_pass.takes(rows):
        return one_pass.sum_rows(rows, None, inverse)
    return embedding_bag(inverse, rows, mode="sum")


def sum_weighted_rows(rows, weights, inverse):
    if one_pass.takes(rows):
        return one_pass.sum_rows(rows, weights, inverse)
    if rows.dtype != weights.dtype:
        return row_sums.sum_weighted_rows(rows, weights, inverse)
    return _weigh(rows, weights, inverse)


def sum_weighted_rows_gradient(rows, weights, order, inverse, cotangent):
    if one_pass.takes(rows):
        return one_pass.sum_rows_gradient(rows, weights, inverse, cotangent)
    if rows.dtype != weights.dtype:
        return row_sums.sum_weighted_rows_gradient(
            rows, weights, order, inverse, cotangent
        )
    for_rows = copy_rows(cotangent, order // inverse.shape[1])
    for_rows *= weights.reshape(-1)[order][:, None]
    with torch.enable_grad():
        weights = weights.detach().requires_grad_()
        outputs = _weigh(rows.detach(), weights, inverse)
    (for_weights,) = torch.autograd.grad(outputs, weights, cotangent)
    return for_rows, for_weights


def _weigh(rows, weights, inverse):
    return embedding_bag(inverse, rows, mode="sum", per_sample_weights=weights)
