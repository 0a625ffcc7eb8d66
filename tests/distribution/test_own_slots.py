"""Optimizer slots of experts are found, whatever the optimizer."""

import keras
import numpy as np
import pytest

from keras_moe.distribution.own_slots import mark_slots

pytestmark = pytest.mark.once


def make_weights():
    """Make a part of some experts' kernels, and weights of every process."""
    with keras.name_scope("experts"):
        part = keras.Variable(np.zeros((2, 3, 4)), name="kernel")
    part.is_part = True
    # As many rows as there are experts here, and a path that begins alike.
    with keras.name_scope("experts"):
        alike = keras.Variable(np.zeros((2, 3, 4)), name="kernel_momentum")
    with keras.name_scope("embedding"):
        table = keras.Variable(np.zeros((2, 4)), name="table")
    return [part, alike, table, keras.Variable(np.zeros(2), name="bias")]


@pytest.mark.parametrize(
    ("optimizer", "shapes"),
    [
        (keras.optimizers.Adam(), [(2, 3, 4)] * 2),
        (keras.optimizers.SGD(), []),
        (
            keras.optimizers.SGD(use_ema=True, gradient_accumulation_steps=2),
            [(2, 3, 4)] * 2,
        ),
        # Sums over rows and over columns, named as the weight without a path.
        (keras.optimizers.Adafactor(), [(2, 3), (2, 4), (2, 3, 4)]),
        # Chooses by the path.
        (keras.optimizers.Muon(), [(2, 3, 4)] * 2),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_slots_of_a_part_are_marked(optimizer, shapes):
    weights = make_weights()
    optimizer.build(weights)
    mark_slots(optimizer, weights)
    marked = [v for v in optimizer.variables if hasattr(v, "is_part")]
    assert [tuple(each.shape) for each in marked] == shapes
    if marked and optimizer.name != "adafactor":
        paths = {each.path.rpartition("_")[0] for each in marked}
        assert all("experts_kernel" in path for path in paths)
        assert not any("kernel_momentum" in path for path in paths)


def test_without_parts_nothing_is_marked():
    weights = make_weights()[1:]
    optimizer = keras.optimizers.Adam()
    optimizer.build(weights)
    mark_slots(optimizer, weights)
    assert not any(hasattr(each, "is_part") for each in optimizer.variables)
