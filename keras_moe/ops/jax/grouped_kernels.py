"""The grouped products on JAX.

Which implementation runs is decided when the program is lowered, for the
platform that it is lowered for: a program traced on a CPU machine for a TPU
holds the TPU's.
"""

import functools

from jax import lax

from keras_moe.ops.blocks import grouped_outer as blocked_outer
from keras_moe.ops.blocks import grouped_rows as blocked_rows
from keras_moe.ops.grouped_products import GroupedProducts
from keras_moe.ops.implementations import choose_implementation
from keras_moe.ops.jax.real_rows import where_real
from keras_moe.ops.row_tiles import grouped_rows as tiled_rows


def grouped_rows(
    inputs, kernels, group_sizes, transpose_kernels, implementation
):
    def of(products):
        return functools.partial(
            products.rows, transpose_kernels=transpose_kernels
        )

    arrays = inputs, kernels, group_sizes
    return _on_each_platform(of, implementation, *arrays)


def grouped_outer(inputs, cotangents, group_sizes, implementation):
    def of(products):
        return products.outer

    arrays = inputs, cotangents, group_sizes
    return _on_each_platform(of, implementation, *arrays)


def ragged_rows(inputs, kernels, group_sizes, transpose_kernels):
    contracting = ((1,), (2 if transpose_kernels else 1,))
    outputs = lax.ragged_dot_general(
        inputs,
        kernels,
        group_sizes,
        lax.RaggedDotDimensionNumbers(
            dot_dimension_numbers=(contracting, ((), ())),
            lhs_ragged_dimensions=[0],
            rhs_group_dimensions=[0],
        ),
    )
    # What a kernel leaves in rows of no group is its own affair.
    return where_real(outputs, group_sizes)


def ragged_outer(inputs, cotangents, group_sizes):
    # Rows past the sum belong to no group; a NaN there must not count.
    return lax.ragged_dot_general(
        where_real(inputs, group_sizes),
        where_real(cotangents, group_sizes),
        group_sizes,
        lax.RaggedDotDimensionNumbers(
            dot_dimension_numbers=(((0,), (0,)), ((), ())),
            lhs_ragged_dimensions=[0],
            rhs_group_dimensions=[],
        ),
    )


def tiled_outer(inputs, cotangents, group_sizes):
    # Imported late: it takes time, and not with `import keras_moe`. JAX
    # traces the products of all platforms, so the first product pays.
    from keras_moe.ops.jax import megablox

    # A Pallas kernel is made for one number of rows.
    if megablox.tgmm is None or not isinstance(inputs.shape[0], int):
        return ragged_outer(inputs, cotangents, group_sizes)
    return megablox.grouped_outer(inputs, cotangents, group_sizes)


def hopper_rows(inputs, kernels, group_sizes, transpose_kernels):
    # Imported late, for the same reason.
    from keras_moe.ops.jax import mosaic_gpu

    fit = mosaic_gpu.takes(inputs, kernels)
    products = mosaic_gpu.grouped_rows if fit else long_rows
    return products(inputs, kernels, group_sizes, transpose_kernels)


def hopper_outer(inputs, cotangents, group_sizes):
    from keras_moe.ops.jax import mosaic_gpu

    fit = mosaic_gpu.takes(inputs, cotangents)
    products = mosaic_gpu.grouped_outer if fit else long_outer
    return products(inputs, cotangents, group_sizes)


long_rows = functools.partial(blocked_rows, known_count=True)
long_outer = functools.partial(blocked_outer, known_count=True)

IMPLEMENTATIONS = {
    "blocks": GroupedProducts(blocked_rows, blocked_outer),
    "long_blocks": GroupedProducts(long_rows, long_outer),
    "mosaic_gpu": GroupedProducts(hopper_rows, hopper_outer),
    "ragged_dot": GroupedProducts(ragged_rows, ragged_outer),
    "row_tiles": GroupedProducts(tiled_rows, blocked_outer),
    "megablox": GroupedProducts(ragged_rows, tiled_outer),
}


def _on_each_platform(of, implementation, inputs, *arrays):
    if implementation != "auto":
        return of(IMPLEMENTATIONS[implementation])(inputs, *arrays)

    def chosen(platform):
        dtype, num_rows = inputs.dtype.name, inputs.shape[0]
        choice = choose_implementation("jax", platform, dtype, num_rows)
        return of(IMPLEMENTATIONS[choice.implementation])

    return lax.platform_dependent(
        inputs,
        *arrays,
        cpu=chosen("cpu"),
        tpu=chosen("tpu"),
        cuda=chosen("cuda"),
        default=chosen("other"),
    )
