"""Losses that no other layer's losses are taken for."""

import gc
import weakref

import keras
import numpy as np
import pytest
from keras import ops

from keras_moe.balancing import BalancingRule
from keras_moe.layers import TopKRouter


@pytest.mark.skipif(
    keras.config.backend() != "jax", reason="JAX alone has such traces"
)
def test_losses_of_a_trace_live_until_the_next_one():
    import jax

    traced = []

    class Remembered(BalancingRule):
        def add_loss(self, plan, router):
            loss = ops.mean(plan.scores.probs**2)
            traced.append(weakref.ref(loss))
            router.add_loss(loss)

    router = TopKRouter(4, balancing=Remembered())
    router.build((None, 3, 6))

    def losses(inputs):
        variables = (router.trainable_variables, router.non_trainable_variables)
        values = [[each.value for each in some] for some in variables]
        *_, losses = router.stateless_call(
            *values, inputs, training=True, return_losses=True
        )
        return losses

    for size in (1, 2):
        jax.eval_shape(losses, np.ones((size, 3, 6), "float32"))
        gc.collect()
        # Otherwise a loss of another layer may get the `id` of this one.
        assert traced[-1]() is not None
    assert traced[0]() is None
