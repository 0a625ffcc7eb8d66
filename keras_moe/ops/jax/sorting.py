"""Stable sorting, ranking and counting on JAX, each one program."""

import functools

import jax
import jax.numpy as jnp
from jax import lax


@functools.partial(jax.jit, static_argnums=1)
def top_k(scores, k):
    # `lax.top_k` puts the lower index first among equals, by contract.
    return lax.top_k(lax.stop_gradient(jnp.asarray(scores)), k)[1]


@functools.partial(jax.jit, static_argnums=1)
def stable_argsort(values, largest=None):
    # Not `jnp.argsort`: inside `shard_map` it loses the mark that says that
    # the result varies over the mesh, and gradients come out wrong.
    values = _narrow(lax.stop_gradient(jnp.asarray(values)))
    last = values.ndim - 1
    position = lax.broadcasted_iota(jnp.int32, values.shape, last)
    length = values.shape[last]
    if _fits_one_number(largest, length):
        # Value and position in one number: a quarter of the time.
        return lax.sort(values * length + position, dimension=last) % length
    return lax.sort((values, position), dimension=last, num_keys=1)[1]


def _fits_one_number(largest, length):
    if largest is None or not isinstance(length, int) or not length:
        return False
    return (largest + 1) * length < 2**31


@jax.jit
def invert_permutation(order):
    order = jnp.asarray(order)
    return stable_argsort(order) if order.ndim > 1 else _invert_row(order)


def _invert_row(order):
    position = lax.iota(jnp.int32, order.shape[0])
    return jnp.zeros_like(order).at[order].set(position, unique_indices=True)


@functools.partial(jax.jit, static_argnums=1)
def count(values, num_values):
    values = jax.lax.stop_gradient(jnp.asarray(values))
    ones = jnp.ones(values.shape, jnp.int32)
    counts = jnp.zeros((num_values,), jnp.int32)
    return counts.at[values].add(ones, mode="drop")


def _narrow(values):
    # Integers are int64 in JAX's 64-bit mode unless somebody says otherwise.
    integers = jnp.issubdtype(values.dtype, jnp.integer)
    return values.astype(jnp.int32) if integers else values
