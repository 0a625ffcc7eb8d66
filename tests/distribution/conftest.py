"""A small model and its data, trained on one device and on many."""

import functools
from typing import NamedTuple

import keras
import numpy as np
import pytest

from keras_moe.balancing import ExpertBias
from keras_moe.balancing import LoadBalancingLoss
from keras_moe.balancing import RouterZLoss
from keras_moe.distribution import ExpertParallel
from keras_moe.layers import SparseMoE
from keras_moe.layers import TopKRouter

NUM_EXPERTS = 8


class Run(NamedTuple):
    losses: np.ndarray
    weights: list
    routing: dict
    model: keras.Model


@pytest.fixture
def train():
    """Return `train(distribution, **arguments)` of the sparse layer."""
    return _train


@pytest.fixture
def train_on_one_device():
    """Return the same on one device, each run done once."""
    return _train_on_one_device


@pytest.fixture
def one_device(backend):
    """Return a distribution over a mesh of one device."""
    if backend != "jax":
        pytest.skip("experts are distributed on JAX")
    return ExpertParallel(devices=["cpu:0"])


def _train(distribution=None, batches=None, capacity=None):
    keras.distribution.set_distribution(distribution)
    keras.utils.set_random_seed(1)
    rules = [LoadBalancingLoss(0.1), RouterZLoss(0.01), ExpertBias(0.01)]
    router = TopKRouter(NUM_EXPERTS, balancing=rules, capacity=capacity)
    sparse = SparseMoE(NUM_EXPERTS, 4, router=router, name="sparse")
    sparse.statistics.enabled = True
    inputs = keras.Input((6, 8))
    hidden = keras.layers.Dense(8, activation="tanh")(inputs)
    outputs = keras.layers.Dense(3)(hidden + sparse(hidden))
    model = keras.Model(inputs, outputs)
    # A small epsilon would blow up the rounding of gradients that are nearly 0.
    model.compile(keras.optimizers.Adam(0.01, epsilon=1e-3), "mse")
    x, y = batches or _data()
    history = model.fit(
        x, y, batch_size=8, epochs=2, shuffle=False, verbose=0
    ).history
    weights = [np.asarray(weight) for weight in model.weights]
    routing = sparse.statistics.result()
    return Run(np.array(history["loss"]), weights, routing, model)


@functools.cache
def _train_on_one_device(**arguments):
    return _train(None, **arguments)


def _data():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(16, 6, 8)).astype("float32")
    return x, generator.normal(size=(16, 6, 3)).astype("float32")
