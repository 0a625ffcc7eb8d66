"""The kernels' gradient on TPU. The one file that imports JAX's Pallas.

XLA for TPU has a grouped kernel for `ragged_dot`, but not for its transpose,
the product over the ragged dimension: it multiplies E masked copies of all
rows (seen in a program compiled for a TPU v5p by libtpu 0.0.42). JAX's own
Pallas kernel does not, and has no public name.
"""

from keras_moe.ops.jax.real_rows import fill_up
from keras_moe.ops.jax.real_rows import where_real

try:
    from jax.experimental.pallas.ops.tpu.megablox.gmm import tgmm
except ImportError:
    tgmm = None

# Rows of a tile; a group's last tile reaches into its neighbour.
ROW_TILE = 128
LARGEST_TILE = 512


def grouped_outer(inputs, cotangents, group_sizes, interpret=False):
    """Sum the outer products of each group's rows: the kernels' gradient.

    Args:
        inputs: array of shape (R, D), rows sorted by group.
        cotangents: array of shape (R, F).
        group_sizes: int32 array of shape (E,).
        interpret: bool, run the kernel step by step, on any device.

    Returns:
        Array of shape (E, D, F), 0 for empty groups; summed in float32.
    """
    # A NaN in rows of no group must not count.
    inputs, cotangents = (
        where_real(fill_up(rows, ROW_TILE), group_sizes)
        for rows in (inputs, cotangents)
    )
    return tgmm(
        inputs.T,
        cotangents,
        group_sizes,
        preferred_element_type=inputs.dtype,
        tiling=(ROW_TILE, _tile(inputs), _tile(cotangents)),
        interpret=interpret,
    )


def _tile(rows):
    """Return the widest tile that is no wider than the rows."""
    whole = -(-rows.shape[1] // 128) * 128
    return min(whole, LARGEST_TILE)
