"""Rows of groups, and those behind the last group, on JAX."""

import jax.numpy as jnp


def where_real(rows, group_sizes):
    """Put zeros in the rows past the sum of the group sizes.

    Args:
        rows: array of shape (R, D), sorted by group.
        group_sizes: int32 array of shape (E,).

    Returns:
        Array of the same shape. A NaN in rows of no group is gone.

    Example:

    >>> where_real(jnp.ones((3, 1)), jnp.array([1, 1])).ravel().tolist()
    [1.0, 1.0, 0.0]
    """
    real = jnp.arange(rows.shape[0]) < jnp.sum(group_sizes)
    return jnp.where(real[:, None], rows, 0)


def fill_up(rows, multiple):
    """Add rows of zeros up to a multiple, which kernels work in.

    Args:
        rows: array of shape (R, D).
        multiple: int.

    Returns:
        Array of at least R rows.

    Example:

    >>> fill_up(jnp.ones((3, 1)), multiple=4).shape
    (4, 1)
    """
    return jnp.pad(rows, ((0, -rows.shape[0] % multiple), (0, 0)))
