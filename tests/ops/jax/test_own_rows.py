import keras
import numpy as np
import pytest

from keras_moe.distribution import ExpertParallel

if keras.config.backend() != "jax":
    pytest.skip("of the JAX backend", allow_module_level=True)

import jax

from keras_moe.ops.jax.own_rows import on_own_rows
from keras_moe.ops.jax.own_rows import row_mesh


def shapes_seen(values):
    seen = []

    def function(values):
        seen.append(values.shape)
        return values

    compiled = jax.jit(on_own_rows(function))
    np.testing.assert_array_equal(compiled(values), values)
    return seen


def mesh_of(values):
    found = []
    jax.eval_shape(lambda values: found.append(row_mesh(values)), values)
    return found[0]


def test_without_a_distribution_of_ours_all_rows_are_seen():
    values = jax.numpy.ones((8, 2))
    assert mesh_of(values) is None
    keras.distribution.set_distribution(
        keras.distribution.DataParallel(devices=["cpu:0"])
    )
    assert mesh_of(values) is None
    assert shapes_seen(values) == [(8, 2)]


def test_a_mesh_divides_rows_of_known_number_and_not_twice():
    keras.distribution.set_distribution(ExpertParallel(devices=["cpu:0"]))
    values = jax.numpy.ones((8, 2))
    assert mesh_of(values).size == 1
    # One long row; an open number of rows; outside of a compiled program.
    (size,) = jax.export.symbolic_shape("size")
    assert mesh_of(values[0]) is None
    assert mesh_of(jax.ShapeDtypeStruct((size, 2), "float32")) is None
    assert row_mesh(values) is None
    found = []

    def function(values):
        found.append(row_mesh(values))
        return values

    jax.jit(on_own_rows(function))(values)
    assert found == [None]


@pytest.mark.multi_device
def test_each_device_sees_its_own_rows():
    keras.distribution.set_distribution(ExpertParallel(2, 4))
    assert shapes_seen(jax.numpy.arange(32.0).reshape(16, 2)) == [(2, 2)]
    # 3 rows cannot be divided.
    assert shapes_seen(jax.numpy.ones((3, 2))) == [(3, 2)]
