"""Operators for rows on a GPU that read and write them once.

Registered as custom operators, so that PyTorch's tracers see one node each.
"""

import functools
import warnings

import torch

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def takes(rows):
    """Tell whether the operators here are for a tensor.

    They are where Triton compiles for its device. What PyTorch compiles as a
    whole is fused anyway, and what it exports runs without this package.

    Args:
        rows: tensor.

    Returns:
        bool.

    Example:

    >>> import torch
    >>> takes(torch.ones(2, 3))
    False
    """
    return (
        rows.is_cuda
        and rows.dtype in DTYPES
        and not torch.compiler.is_compiling()
        and kernels() is not None
    )


@functools.cache
def kernels():
    """Return the module of kernels, or `None` where none can be compiled.

    Returns:
        `keras_moe.ops.torch.triton_kernels`, or `None`.

    Example:

    >>> kernels() is None  # Without a GPU.
    True
    """
    if not torch.cuda.is_available():
        return None
    try:
        from keras_moe.ops.torch import triton_kernels

        rows = torch.ones((1, 1), device="cuda")
        first = torch.zeros((), dtype=torch.int32, device="cuda")
        triton_kernels.clear_rows(rows, first)
    except Exception as error:  # No Triton, no C compiler, an old GPU.
        warnings.warn(
            "Expected Triton to compile for the GPU. Received: "
            f"{type(error).__name__}: {error} So sums over experts' rows take "
            "several passes, which is slower and right. Install the Triton "
            "of this PyTorch, and a C compiler.",
            stacklevel=2,
        )
        return None
    return triton_kernels


@torch.library.custom_op("keras_moe::sum_rows", mutates_args=())
def sum_rows(
    rows: torch.Tensor, weights: torch.Tensor | None, inverse: torch.Tensor
) -> torch.Tensor:
    """Add up the K rows of each token, weighted; summed in float32.

    Args:
        rows: tensor of shape (R, H).
        weights: optional tensor of shape (T, K).
        inverse: int32 tensor of shape (T, K): the rows of each token.

    Returns:
        Tensor of shape (T, H), of the dtype of `rows`.
    """
    if weights is not None:
        weights = weights.contiguous()
    return kernels().sum_rows(rows.contiguous(), weights, inverse.contiguous())


@sum_rows.register_fake
def _(rows, weights, inverse):
    return rows.new_empty((inverse.shape[0], rows.shape[1]))


@torch.library.custom_op("keras_moe::sum_rows_gradient", mutates_args=())
def sum_rows_gradient(
    rows: torch.Tensor,
    weights: torch.Tensor,
    inverse: torch.Tensor,
    cotangent: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Differentiate the weighted `sum_rows`.

    Args:
        rows: tensor of shape (R, H), each of at least one pair.
        weights: tensor of shape (T, K), 0 where pairs share a row.
        inverse: int32 tensor of shape (T, K): the rows of each token.
        cotangent: tensor of shape (T, H).

    Returns:
        The gradients for `rows` and for `weights`, of their dtypes.
    """
    return kernels().sum_rows_gradient(
        *(each.contiguous() for each in (rows, weights, inverse, cotangent))
    )


@sum_rows_gradient.register_fake
def _(rows, weights, inverse, cotangent):
    return torch.empty_like(rows), torch.empty_like(weights)


@torch.library.custom_op("keras_moe::gated_silu", mutates_args=())
def gated_silu(gate_up: torch.Tensor) -> torch.Tensor:
    """Compute `silu(gate) * up`.

    Args:
        gate_up: tensor of shape (..., 2 * F).

    Returns:
        Tensor of shape (..., F).
    """
    *leading, width = gate_up.shape
    outputs = kernels().gated_silu(gate_up.reshape(-1, width).contiguous())
    return outputs.reshape(*leading, width // 2)


@gated_silu.register_fake
def _(gate_up):
    return gate_up.new_empty((*gate_up.shape[:-1], gate_up.shape[-1] // 2))


@torch.library.custom_op("keras_moe::gated_silu_gradient", mutates_args=())
def gated_silu_gradient(
    gate_up: torch.Tensor, cotangent: torch.Tensor
) -> torch.Tensor:
    """Differentiate `gated_silu`.

    Args:
        gate_up: tensor of shape (..., 2 * F).
        cotangent: tensor of shape (..., F).

    Returns:
        Tensor of shape (..., 2 * F).
    """
    width = gate_up.shape[-1]
    gradient = kernels().gated_silu_gradient(
        gate_up.reshape(-1, width).contiguous(),
        cotangent.reshape(-1, width // 2).contiguous(),
    )
    return gradient.reshape(gate_up.shape)


@gated_silu_gradient.register_fake
def _(gate_up, cotangent):
    return torch.empty_like(gate_up)
