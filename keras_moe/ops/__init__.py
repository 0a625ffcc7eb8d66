"""Functions on tensors in the manner of `keras.ops`, for sparse experts."""

from keras_moe.ops.gated_activation import gated_activation
from keras_moe.ops.gated_activation import swiglu
from keras_moe.ops.gradients import custom_vjp
from keras_moe.ops.grouped_matmul import grouped_matmul
from keras_moe.ops.implementations import choose_implementation
from keras_moe.ops.permute import combine_rows
from keras_moe.ops.permute import gather_rows
from keras_moe.ops.sorting import count
from keras_moe.ops.sorting import invert_permutation
from keras_moe.ops.sorting import stable_argsort
from keras_moe.ops.sorting import top_k

__all__ = [
    "choose_implementation",
    "combine_rows",
    "count",
    "custom_vjp",
    "gated_activation",
    "gather_rows",
    "grouped_matmul",
    "invert_permutation",
    "stable_argsort",
    "swiglu",
    "top_k",
]
