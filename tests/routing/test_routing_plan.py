"""The record that a router hands on."""

import keras
import numpy as np
from keras import ops

from keras_moe.routing import RoutingPlan
from keras_moe.routing import choose_top_k


def test_a_plan_is_a_pytree():
    plan = choose_top_k(np.zeros((2, 3, 4), "float32"), top_k=2)
    ranks = keras.tree.map_structure(lambda tensor: len(tensor.shape), plan)
    assert isinstance(ranks, RoutingPlan)
    assert ranks == RoutingPlan(3, 3, 3, 3, 2)


def test_a_plan_crosses_a_compiled_function(backend):
    def double(plan):
        return plan._replace(combine_weights=2 * plan.combine_weights)

    if backend == "jax":
        import jax

        double = jax.jit(double)
    elif backend == "tensorflow":
        import tensorflow as tf

        double = tf.function(double)
    plan = choose_top_k(np.zeros((3, 4), "float32"), top_k=2)
    doubled = double(plan)
    assert isinstance(doubled, RoutingPlan)
    # Two equal experts of weight 1/2.
    np.testing.assert_allclose(
        ops.convert_to_numpy(doubled.combine_weights), 1.0
    )
