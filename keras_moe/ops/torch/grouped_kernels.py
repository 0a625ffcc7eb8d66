"""The grouped products on PyTorch.

Registered as custom operators, so that `torch.compile` and `torch.export`
see one opaque node instead of a loop over data-dependent slices.
"""

from functools import partial

import torch

from keras_moe.ops.grouped_products import GroupedProducts
from keras_moe.ops.implementations import choose_implementation
from keras_moe.ops.torch import one_pass
from keras_moe.ops.torch.new_memory import new_memory
from keras_moe.ops.torch.side_by_side import side_by_side


def grouped_rows(
    inputs, kernels, group_sizes, transpose_kernels, implementation
):
    if torch.compiler.is_exporting():
        # A program must run where this package is not installed.
        return split_rows(inputs, kernels, group_sizes, transpose_kernels)
    return _grouped_rows(
        inputs, kernels, group_sizes, transpose_kernels, implementation
    )


def grouped_outer(inputs, cotangents, group_sizes, implementation):
    return _grouped_outer(inputs, cotangents, group_sizes, implementation)


def rows_by_group(inputs, kernels, group_sizes, transpose_kernels, each):
    if transpose_kernels:
        kernels = kernels.transpose(1, 2)
    outputs = _new_zeros((inputs.shape[0], kernels.shape[2]), inputs)

    def product(group, rows):
        torch.mm(inputs[rows], kernels[group], out=outputs[rows])

    each(product, _groups(group_sizes))
    return outputs


def outer_by_group(inputs, cotangents, group_sizes, each):
    shape = (group_sizes.shape[0], inputs.shape[1], cotangents.shape[1])
    sums = _new_zeros(shape, inputs)

    def product(group, rows):
        torch.mm(inputs[rows].T, cotangents[rows], out=sums[group])

    each(product, _groups(group_sizes))
    return sums


def split_rows(inputs, kernels, group_sizes, transpose_kernels):
    if transpose_kernels:
        kernels = kernels.transpose(1, 2)
    sizes = group_sizes.tolist()
    *groups, rest = torch.split(inputs, [*sizes, inputs.shape[0] - sum(sizes)])
    products = [rows @ kernels[i] for i, rows in enumerate(groups)]
    past_the_sum = rest.new_zeros((rest.shape[0], kernels.shape[2]))
    return torch.cat([*products, past_the_sum])


def one_by_one(product, groups):
    for group, rows in groups:
        product(group, rows)


def fused_rows(inputs, kernels, group_sizes, transpose_kernels):
    kernels = kernels.contiguous()
    if transpose_kernels:
        kernels = kernels.transpose(1, 2)
    ends = torch.cumsum(group_sizes, 0, dtype=torch.int32)
    outputs = torch.nn.functional.grouped_mm(
        inputs.contiguous(), kernels, offs=ends
    )
    if one_pass.takes(outputs):
        # Nearly always there are none: another pass over all rows would take
        # a fifth of a training step's time.
        one_pass.kernels().clear_rows(outputs, ends[-1])
        return outputs
    real = torch.arange(inputs.shape[0], device=inputs.device) < ends[-1]
    return torch.where(real[:, None], outputs, 0)


def fused_outer(inputs, cotangents, group_sizes):
    ends = torch.cumsum(group_sizes, 0, dtype=torch.int32)
    return torch.nn.functional.grouped_mm(
        inputs.contiguous().T, cotangents.contiguous(), offs=ends
    )


IMPLEMENTATIONS = {
    "loop": GroupedProducts(
        partial(rows_by_group, each=one_by_one),
        partial(outer_by_group, each=one_by_one),
    ),
    "threads": GroupedProducts(
        partial(rows_by_group, each=side_by_side),
        partial(outer_by_group, each=side_by_side),
    ),
    "grouped_mm": GroupedProducts(fused_rows, fused_outer),
}


@torch.library.custom_op("keras_moe::grouped_rows", mutates_args=())
def _grouped_rows(
    inputs: torch.Tensor,
    kernels: torch.Tensor,
    group_sizes: torch.Tensor,
    transpose_kernels: bool,
    implementation: str,
) -> torch.Tensor:
    products = _products(implementation, inputs, *kernels.shape[1:])
    return products.rows(inputs, kernels, group_sizes, transpose_kernels)


@_grouped_rows.register_fake
def _(inputs, kernels, group_sizes, transpose_kernels, implementation):
    outer = kernels.shape[1] if transpose_kernels else kernels.shape[2]
    return inputs.new_empty((inputs.shape[0], outer))


@torch.library.custom_op("keras_moe::grouped_outer", mutates_args=())
def _grouped_outer(
    inputs: torch.Tensor,
    cotangents: torch.Tensor,
    group_sizes: torch.Tensor,
    implementation: str,
) -> torch.Tensor:
    widths = inputs.shape[1], cotangents.shape[1]
    products = _products(implementation, inputs, *widths)
    return products.outer(inputs, cotangents, group_sizes)


@_grouped_outer.register_fake
def _(inputs, cotangents, group_sizes, implementation):
    return inputs.new_empty(
        (group_sizes.shape[0], inputs.shape[1], cotangents.shape[1])
    )


def _groups(group_sizes):
    """List the groups that have rows, each with its slice of them."""
    groups, start = [], 0
    for group, size in enumerate(group_sizes.tolist()):
        if size:
            groups.append((group, slice(start, start + size)))
            start += size
    return groups


def _new_zeros(shape, like):
    # Filled by all threads before the products: two that met the same new
    # page inside a product took twice the time (measured, 128 groups).
    return new_memory(shape, like).zero_()


def _products(implementation, inputs, *widths):
    if implementation == "auto":
        size = inputs.element_size()
        choice = choose_implementation(
            "torch",
            inputs.device.type,
            str(inputs.dtype).removeprefix("torch."),
            inputs.shape[0],
            aligned=all(width * size % 16 == 0 for width in widths),
        )
        implementation = choice.implementation
    return IMPLEMENTATIONS[implementation]
