"""One product per group of rows: the arithmetic of sparse experts."""

from keras import ops

from keras_moe.ops.backend import load
from keras_moe.ops.gradients import custom_vjp
from keras_moe.ops.implementations import check_implementation
from keras_moe.ops.widen import result_dtype

_kernels = load("grouped_kernels")


def grouped_matmul(inputs, kernels, group_sizes, implementation="auto"):
    """Multiply each group of rows by its own kernel.

    The rows are sorted by group: the first `group_sizes[0]` belong to
    kernel 0, the next `group_sizes[1]` to kernel 1, and so on. The cost
    follows R, not R times E, and the gradients for `inputs` and `kernels`
    are grouped products as well. Shapes are static, so it compiles under
    XLA. The idea is MegaBlocks' (https://arxiv.org/abs/2211.15841).

    Args:
        inputs: float tensor of shape (R, D), rows sorted by group.
        kernels: float tensor of shape (E, D, F).
        group_sizes: int32 tensor of shape (E,), in rows; the sum may be less
            than R.
        implementation: `"auto"` asks
            `keras_moe.ops.choose_implementation`, which says why; or a name
            of the active backend: on JAX `"blocks"`, `"long_blocks"`,
            `"row_tiles"`, `"ragged_dot"`, `"megablox"` or `"mosaic_gpu"`, on
            PyTorch `"threads"`, `"loop"` or `"grouped_mm"`, on TensorFlow
            `"blocks"` or `"split"`.

    Returns:
        Float tensor of shape (R, F), of the wider dtype of both inputs. Rows
        past the sum of `group_sizes` are 0 and pass no gradient.

    Raises:
        ValueError: If ranks or sizes do not fit, or the backend has no
            such implementation.

    Example:

    >>> import numpy as np
    >>> inputs = np.array([[1.0], [1.0], [1.0]], "float32")
    >>> kernels = np.array([[[2.0]], [[5.0]]], "float32")
    >>> outputs = grouped_matmul(inputs, kernels, np.array([2, 1], "int32"))
    >>> np.array(outputs).ravel().tolist()
    [2.0, 2.0, 5.0]
    """
    inputs = ops.convert_to_tensor(inputs)
    kernels = ops.convert_to_tensor(kernels)
    group_sizes = ops.cast(ops.convert_to_tensor(group_sizes), "int32")
    _check_shapes(inputs, kernels, group_sizes)
    check_implementation(implementation, _kernels.IMPLEMENTATIONS)
    dtype = result_dtype(inputs.dtype, kernels.dtype)
    inputs, kernels = ops.cast(inputs, dtype), ops.cast(kernels, dtype)
    if inputs.shape[0] == 0:
        return inputs @ kernels[0]
    product = _PRODUCTS[implementation]
    return product((inputs, kernels), (group_sizes,))


def _differentiable_product(implementation):
    def forward(inputs, kernels, group_sizes):
        return _kernels.grouped_rows(
            inputs, kernels, group_sizes, False, implementation
        )

    def backward(inputs, kernels, group_sizes, cotangent):
        return (
            _kernels.grouped_rows(
                cotangent, kernels, group_sizes, True, implementation
            ),
            _kernels.grouped_outer(
                inputs, cotangent, group_sizes, implementation
            ),
        )

    return custom_vjp(forward, backward)


_PRODUCTS = {
    name: _differentiable_product(name)
    for name in ("auto", *_kernels.IMPLEMENTATIONS)
}


def _check_shapes(inputs, kernels, group_sizes):
    shapes = (
        f"Received: inputs.shape={tuple(inputs.shape)}, "
        f"kernels.shape={tuple(kernels.shape)}, "
        f"group_sizes.shape={tuple(group_sizes.shape)}."
    )
    ranks = len(inputs.shape), len(kernels.shape), len(group_sizes.shape)
    if ranks != (2, 3, 1):
        raise ValueError(
            "Expected inputs of shape (R, D), kernels of shape (E, D, F) and "
            f"group_sizes of shape (E,). {shapes} Flatten the leading "
            "dimensions of the inputs first."
        )
    if inputs.shape[1] != kernels.shape[1]:
        raise ValueError(
            "Expected the inner dimension D to be the same in inputs (R, D) "
            f"and kernels (E, D, F). {shapes} Transpose the kernels if they "
            "are stored as (E, F, D)."
        )
    if group_sizes.shape[0] != kernels.shape[0]:
        raise ValueError(
            "Expected one group size for each of the E kernels. "
            f"{shapes} Give empty groups a size of 0."
        )
