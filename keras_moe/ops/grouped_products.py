"""What an implementation of the grouped product consists of."""

from collections.abc import Callable
from typing import NamedTuple


class GroupedProducts(NamedTuple):
    """The two products, on tensors of one backend.

    Attributes:
        rows: `rows(inputs, kernels, group_sizes, transpose_kernels)`: each
            group of rows (R, D) times its kernel (D, F), or times the
            transpose of its kernel (F, D); rows past the sum are 0.
        outer: `outer(inputs, cotangents, group_sizes)`: the outer products
            of each group's rows, summed: (R, D), (R, F) -> (E, D, F).
    """

    rows: Callable
    outer: Callable
