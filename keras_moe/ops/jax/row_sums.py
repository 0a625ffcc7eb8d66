"""Copies of tokens and sums over rows on JAX, which fuses them by itself."""

from keras_moe.ops.row_sums import copy_rows
from keras_moe.ops.row_sums import sum_rows
from keras_moe.ops.row_sums import sum_weighted_rows
from keras_moe.ops.row_sums import sum_weighted_rows_gradient

__all__ = [
    "copy_rows",
    "sum_rows",
    "sum_weighted_rows",
    "sum_weighted_rows_gradient",
]
