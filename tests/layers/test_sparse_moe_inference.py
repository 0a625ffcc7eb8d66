"""Inference: no token depends on its neighbours in the batch."""

import numpy as np
import pytest
from keras import ops

from keras_moe.layers import SparseMoE
from keras_moe.routing import Capacity

PATHS = [
    ("sorted", None, "position"),
    ("sorted", 0.3, "position"),
    ("sorted", 0.3, "score"),
    ("slots", 0.3, "score"),
    ("dense", 0.3, "score"),
]


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def make_layer(strategy, factor, priority):
    layer = SparseMoE(
        5,
        4,
        strategy=strategy,
        capacity=Capacity(factor, factor, priority=priority),
    )

    def infer(inputs):
        return ops.convert_to_numpy(
            ops.stop_gradient(layer(inputs, training=False))
        )

    return layer, infer


@pytest.mark.sweep(first=2)
@pytest.mark.parametrize("path", PATHS, ids=str)
def test_a_row_does_not_depend_on_its_neighbours(path):
    layer, infer = make_layer(*path)
    inputs = draw(2, 7, 6)
    together = infer(inputs)
    others = inputs.copy()
    others[1] = draw(7, 6, seed=1)
    # Experts get other numbers of rows, which may be added up in other ways.
    np.testing.assert_allclose(
        infer(others)[0], together[0], rtol=1e-5, atol=1e-6
    )
    alone = np.concatenate([infer(row[None]) for row in inputs])
    np.testing.assert_allclose(alone, together, rtol=1e-5, atol=1e-6)
    if path[1] is not None:
        # Pairs were dropped in every row, or the test would prove little.
        layer.strategy, layer.router.capacity = "sorted", None
        dropless = infer(inputs)
        assert (np.abs(dropless - together).max(axis=(1, 2)) > 1e-3).all()


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_a_nan_in_one_token_leaves_the_others_finite(path):
    _, infer = make_layer(*path)
    inputs = draw(2, 7, 6)
    clean = infer(inputs)
    inputs[0, 3] = np.nan
    outputs = infer(inputs)
    others = np.ones((2, 7), bool)
    others[0, 3] = False
    assert np.isfinite(outputs[others]).all()
    # Experts get other numbers of rows, which may be added up in other ways.
    near = {"rtol": 1e-5, "atol": 1e-6}
    np.testing.assert_allclose(outputs[1], clean[1], **near)
    if path[1] is None:
        assert np.isnan(outputs[0, 3]).all()
        np.testing.assert_allclose(outputs[others], clean[others], **near)


def test_each_mode_has_its_own_capacity():
    layer = SparseMoE(5, 4, 1, capacity=Capacity(0.5, eval_factor=None))
    inputs = np.tile(draw(1, 1, 6), (2, 7, 1))  # all want the same expert

    def dropped(training):
        outputs = layer(inputs, training=training)
        outputs = ops.convert_to_numpy(ops.stop_gradient(outputs))
        return (outputs == 0.0).all(axis=-1)

    # ceil(0.5 * 7 / 5) = 1 slot in each row of the batch.
    expected = np.tile(np.arange(7) >= 1, (2, 1))
    np.testing.assert_array_equal(dropped(training=True), expected)
    assert not dropped(training=False).any()
    layer.router.capacity = Capacity(factor=None, eval_factor=1.0)
    assert not dropped(training=True).any()
    np.testing.assert_array_equal(
        dropped(training=False), np.tile(np.arange(7) >= 2, (2, 1))
    )
