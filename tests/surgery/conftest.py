"""Small models to change, and what they compute."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_moe.layers import FeedForward
from keras_moe.layers import SparseMoE

HIDDEN_DIM = 8


@pytest.fixture
def tokens():
    """Inputs (B, L, H) of the functional models."""
    return np.random.default_rng(0).normal(size=(2, 5, HIDDEN_DIM)).astype("f")


@pytest.fixture
def run():
    """Return a function: what a model computes, as a NumPy array."""
    return lambda model, *inputs: np.array(
        ops.convert_to_numpy(model(*inputs, training=False))
    )


@pytest.fixture
def weights_of():
    """Return a function: copies of a model's weights."""
    return lambda model: [
        np.array(ops.convert_to_numpy(each)) for each in model.weights
    ]


@pytest.fixture
def with_feed_forward():
    """Return a function: a dense model of two feed-forward layers."""

    def make(**settings):
        inputs = keras.Input((5, HIDDEN_DIM))
        x = keras.layers.LayerNormalization(name="norm")(inputs)
        x = x + FeedForward(12, name="first", **settings)(x)
        x = x + FeedForward(6, name="second", **settings)(x)
        return keras.Model(inputs, x)

    return make


@pytest.fixture
def with_experts():
    """Return a function: a sparse model of two layers that differ."""

    def make(num_experts=4, top_k=2, router=None, **settings):
        inputs = keras.Input((5, HIDDEN_DIM))
        x = inputs
        for name in ("first", "second"):
            own = router and router.copy(name="router")
            layer = SparseMoE(
                num_experts, 6, top_k, router=own, name=name, **settings
            )
            x = x + layer(x)
        return keras.Model(inputs, x)

    return make


@pytest.fixture
def train_once():
    """Return a function: one step of stochastic gradient descent."""

    def train(model, inputs):
        model.compile(
            keras.optimizers.SGD(0.1), "mean_squared_error", run_eagerly=True
        )
        model.train_on_batch(inputs, np.ones_like(inputs))

    return train
