"""Which of JAX' processes this is."""

import jax


def process_index():
    return jax.process_index()


def process_count():
    return jax.process_count()
