"""The two grouped products on PyTorch.

Registered as custom operators, so that `torch.compile` and `torch.export`
see one opaque node instead of a loop over data-dependent slices. On CUDA in
half precision `torch.nn.functional.grouped_mm` does the work without asking
the device for the group sizes; elsewhere one `mm` per group that has rows,
written straight into its place (`grouped_mm` on CPU measured 15 times the
dense time at 64 experts, this loop 2).
"""

import torch

HALF = (torch.bfloat16, torch.float16)


def grouped_rows(inputs, kernels, group_sizes, transpose_kernels):
    return _grouped_rows(inputs, kernels, group_sizes, transpose_kernels)


def grouped_outer(inputs, cotangents, group_sizes):
    return _grouped_outer(inputs, cotangents, group_sizes)


@torch.library.custom_op("keras_moe::grouped_rows", mutates_args=())
def _grouped_rows(
    inputs: torch.Tensor,
    kernels: torch.Tensor,
    group_sizes: torch.Tensor,
    transpose_kernels: bool,
) -> torch.Tensor:
    fused = _has_grouped_mm(inputs, *kernels.shape[1:])
    if fused:
        kernels = kernels.contiguous()
    if transpose_kernels:
        kernels = kernels.transpose(1, 2)
    if fused:
        ends = torch.cumsum(group_sizes, 0, dtype=torch.int32)
        outputs = torch.nn.functional.grouped_mm(
            inputs.contiguous(), kernels, offs=ends
        )
        real = torch.arange(inputs.shape[0], device=inputs.device) < ends[-1]
        return torch.where(real[:, None], outputs, 0)
    outputs = inputs.new_empty((inputs.shape[0], kernels.shape[2]))
    start = 0
    for group, size in enumerate(group_sizes.tolist()):
        if size:
            rows = slice(start, start + size)
            torch.mm(inputs[rows], kernels[group], out=outputs[rows])
            start += size
    outputs[start:].zero_()
    return outputs


@_grouped_rows.register_fake
def _(inputs, kernels, group_sizes, transpose_kernels):
    outer = kernels.shape[1] if transpose_kernels else kernels.shape[2]
    return inputs.new_empty((inputs.shape[0], outer))


@torch.library.custom_op("keras_moe::grouped_outer", mutates_args=())
def _grouped_outer(
    inputs: torch.Tensor, cotangents: torch.Tensor, group_sizes: torch.Tensor
) -> torch.Tensor:
    if _has_grouped_mm(inputs, inputs.shape[1], cotangents.shape[1]):
        ends = torch.cumsum(group_sizes, 0, dtype=torch.int32)
        return torch.nn.functional.grouped_mm(
            inputs.contiguous().T, cotangents.contiguous(), offs=ends
        )
    shape = (group_sizes.shape[0], inputs.shape[1], cotangents.shape[1])
    sums = inputs.new_empty(shape)
    start = 0
    for group, size in enumerate(group_sizes.tolist()):
        rows = slice(start, start + size)
        if size:
            torch.mm(inputs[rows].T, cotangents[rows], out=sums[group])
        else:
            sums[group].zero_()
        start += size
    return sums


@_grouped_outer.register_fake
def _(inputs, cotangents, group_sizes):
    return inputs.new_empty(
        (group_sizes.shape[0], inputs.shape[1], cotangents.shape[1])
    )


def _has_grouped_mm(inputs, *widths):
    """Tell whether the fused kernel takes it: rows of whole 16 bytes only."""
    aligned = all(width * inputs.element_size() % 16 == 0 for width in widths)
    return inputs.is_cuda and inputs.dtype in HALF and aligned
