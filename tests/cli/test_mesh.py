"""The devices of `keras-moe train`."""

import keras
import pytest

from keras_moe.cli.mesh import distributed
from keras_moe.cli.mesh import parse_mesh


@pytest.mark.once
@pytest.mark.parametrize(
    ("mesh", "sizes"),
    [
        ("data=2,expert=4", {"data": 2, "expert": 4}),
        (" expert=8 ", {"expert": 8}),
    ],
)
def test_a_mesh_is_read(mesh, sizes):
    assert parse_mesh(mesh) == sizes


@pytest.mark.once
@pytest.mark.parametrize(
    "mesh", ["", "2x4", "model=2", "data=0", "data=2,data=4", "data=2,,"]
)
def test_something_else_is_refused(mesh):
    with pytest.raises(ValueError, match="data=2,expert=4. Received: mesh="):
        parse_mesh(mesh)


@pytest.mark.once
def test_another_backend_is_refused():
    with (
        pytest.raises(NotImplementedError, match="torch. Train on JAX"),
        distributed("expert=1", batch_size=4),
    ):
        pass


def test_a_mesh_is_set_for_a_while(backend):
    if backend != "jax":
        pytest.skip("experts are distributed on JAX")
    count = len(keras.distribution.list_devices())
    with distributed(f"data={count},expert=1", batch_size=count) as words:
        assert words == f"jax, {count} devices: data={count}, expert=1"
        sizes = keras.distribution.distribution().axis_sizes
        assert sizes == {"data": count, "expert": 1}
    assert keras.distribution.distribution() is None
    with pytest.raises(ValueError, match="Choose other sizes"):
        distributed(f"data={count + 1},expert=1", count + 1).__enter__()


@pytest.mark.multi_device
def test_a_batch_that_cannot_be_divided_is_refused(backend):
    if backend != "jax":
        pytest.skip("experts are distributed on JAX")
    with pytest.raises(ValueError, match="1 rows. Choose a `batch_size`"):
        distributed("data=1", batch_size=1).__enter__()
