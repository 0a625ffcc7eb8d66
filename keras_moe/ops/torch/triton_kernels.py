"""What a GPU does to rows in one pass: kernels in Triton.

The operators of PyTorch take several passes, each of which reads and writes
all rows. All sums are in float32. Triton comes with PyTorch for CUDA; this
file is imported when the first rows on a GPU come.
"""

import torch
import triton
import triton.language as tl

# Numbers that a program holds at a time, of one row or of several.
BLOCK = 1024
ROWS_TO_CLEAR = 16


def clear_rows(rows, first):
    """Put zeros in the rows from `first` on; the others are not touched.

    Args:
        rows: contiguous tensor of shape (R, H), changed in place.
        first: int32 tensor without dimensions: it stays on the device.
    """
    num_rows, width = rows.shape
    grid = (triton.cdiv(num_rows, ROWS_TO_CLEAR),)
    columns = BLOCK // ROWS_TO_CLEAR
    _clear_rows[grid](rows, first, num_rows, width, ROWS_TO_CLEAR, columns)


def sum_rows(rows, weights, inverse):
    """Add up the K rows of each token, weighted.

    Args:
        rows: contiguous tensor of shape (R, H).
        weights: optional contiguous tensor of shape (T, K).
        inverse: contiguous int32 tensor of shape (T, K), rows of each token.

    Returns:
        Tensor of shape (T, H), of the dtype of `rows`.
    """
    num_tokens, top_k = inverse.shape
    outputs = rows.new_empty((num_tokens, rows.shape[1]))
    grid = num_tokens, triton.cdiv(rows.shape[1], BLOCK)
    _sum_rows[grid](
        rows,
        rows if weights is None else weights,
        inverse,
        outputs,
        top_k,
        rows.shape[1],
        weights is not None,
        BLOCK,
    )
    return outputs


def sum_rows_gradient(rows, weights, inverse, cotangent):
    """Differentiate the weighted `sum_rows`.

    Args:
        rows: contiguous tensor of shape (R, H), each of at least one pair.
        weights: contiguous tensor of shape (T, K), 0 where pairs share a row.
        inverse: contiguous int32 tensor of shape (T, K).
        cotangent: contiguous tensor of shape (T, H).

    Returns:
        The gradients for `rows` and for `weights`, of their dtypes.
    """
    for_rows, for_weights = torch.empty_like(rows), torch.empty_like(weights)
    _sum_rows_gradient[(inverse.numel(),)](
        rows,
        weights,
        inverse,
        cotangent,
        for_rows,
        for_weights,
        inverse.shape[1],
        rows.shape[1],
        BLOCK,
    )
    return for_rows, for_weights


def gated_silu(gate_up):
    """Compute `silu(gate) * up`.

    Args:
        gate_up: contiguous tensor of shape (R, 2 * F), both side by side.

    Returns:
        Tensor of shape (R, F).
    """
    num_rows, width = gate_up.shape[0], gate_up.shape[1] // 2
    outputs = gate_up.new_empty((num_rows, width))
    grid = num_rows, triton.cdiv(width, BLOCK)
    _gated_silu[grid](gate_up, outputs, width, BLOCK)
    return outputs


def gated_silu_gradient(gate_up, cotangent):
    """Differentiate `gated_silu`.

    Args:
        gate_up: contiguous tensor of shape (R, 2 * F).
        cotangent: contiguous tensor of shape (R, F).

    Returns:
        Tensor of shape (R, 2 * F).
    """
    num_rows, width = cotangent.shape
    gradient = torch.empty_like(gate_up)
    grid = num_rows, triton.cdiv(width, BLOCK)
    _gated_silu_gradient[grid](gate_up, cotangent, gradient, width, BLOCK)
    return gradient


@triton.jit
def _clear_rows(
    rows,
    first,
    num_rows,
    width: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    first = tl.load(first)
    start = tl.program_id(0) * ROWS
    if start + ROWS > first:
        row = start + tl.arange(0, ROWS)[:, None]
        cleared = (row >= first) & (row < num_rows)
        zeros = tl.zeros((ROWS, COLUMNS), rows.dtype.element_ty)
        for column in range(0, width, COLUMNS):
            columns = column + tl.arange(0, COLUMNS)[None, :]
            at = rows + row.to(tl.int64) * width + columns
            tl.store(at, zeros, mask=cleared & (columns < width))


@triton.jit
def _sum_rows(
    rows,
    weights,
    inverse,
    outputs,
    top_k: tl.constexpr,
    width: tl.constexpr,
    weighted: tl.constexpr,
    BLOCK: tl.constexpr,
):
    token = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = columns < width
    total = tl.zeros((BLOCK,), tl.float32)
    for choice in range(top_k):
        pair = token * top_k + choice
        row = tl.load(inverse + pair).to(tl.int64)
        numbers = tl.load(rows + row * width + columns, mask=inside, other=0)
        numbers = numbers.to(tl.float32)
        if weighted:
            numbers *= tl.load(weights + pair).to(tl.float32)
        total += numbers
    total = total.to(outputs.dtype.element_ty)
    tl.store(outputs + token * width + columns, total, mask=inside)


@triton.jit
def _sum_rows_gradient(
    rows,
    weights,
    inverse,
    cotangent,
    for_rows,
    for_weights,
    top_k: tl.constexpr,
    width: tl.constexpr,
    BLOCK: tl.constexpr,
):
    pair = tl.program_id(0).to(tl.int64)
    token = pair // top_k
    row = tl.load(inverse + pair).to(tl.int64)
    weight = tl.load(weights + pair).to(tl.float32)
    products = tl.zeros((BLOCK,), tl.float32)
    for column in range(0, width, BLOCK):
        columns = column + tl.arange(0, BLOCK)
        inside = columns < width
        at = row * width + columns
        from_token = cotangent + token * width + columns
        from_token = tl.load(from_token, mask=inside, other=0).to(tl.float32)
        numbers = tl.load(rows + at, mask=inside, other=0).to(tl.float32)
        products += numbers * from_token
        weighted = (weight * from_token).to(for_rows.dtype.element_ty)
        tl.store(for_rows + at, weighted, mask=inside)
    product = tl.sum(products, 0).to(for_weights.dtype.element_ty)
    tl.store(for_weights + pair, product)


@triton.jit
def _gated_silu(gate_up, outputs, width: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = columns < width
    at = gate_up + row * 2 * width + columns
    gate = tl.load(at, mask=inside, other=0).to(tl.float32)
    up = tl.load(at + width, mask=inside, other=0).to(tl.float32)
    product = (gate * tl.sigmoid(gate) * up).to(outputs.dtype.element_ty)
    tl.store(outputs + row * width + columns, product, mask=inside)


@triton.jit
def _gated_silu_gradient(
    gate_up, cotangent, gradient, width: tl.constexpr, BLOCK: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = columns < width
    at = row * 2 * width + columns
    gate = tl.load(gate_up + at, mask=inside, other=0).to(tl.float32)
    up = tl.load(gate_up + at + width, mask=inside, other=0).to(tl.float32)
    given = cotangent + row * width + columns
    given = tl.load(given, mask=inside, other=0).to(tl.float32)
    share = tl.sigmoid(gate)
    for_gate = given * up * share * (1 + gate * (1 - share))
    for_up = given * gate * share
    dtype = gradient.dtype.element_ty
    tl.store(gradient + at, for_gate.to(dtype), mask=inside)
    tl.store(gradient + at + width, for_up.to(dtype), mask=inside)
