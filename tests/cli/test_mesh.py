"""The devices of `keras-moe train`."""

import keras
import numpy as np
import pytest

from keras_moe.cli.checkpoint import write_checkpoint
from keras_moe.cli.language_model import ModelSize
from keras_moe.cli.mesh import distributed
from keras_moe.cli.mesh import parse_mesh
from keras_moe.cli.training import Training
from keras_moe.cli.training import TrainingSettings


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


@pytest.mark.exhaustive
@pytest.mark.multi_device
def test_a_run_moves_between_meshes_without_a_trace(backend, tmp_path):
    if backend != "jax" or len(keras.distribution.list_devices()) < 8:
        pytest.skip("eight devices of JAX")
    pytest.importorskip("orbax.checkpoint")
    text = tmp_path / "text.txt"
    text.write_bytes(bytes(range(32, 127)) * 150)
    size = ModelSize(
        hidden_dim=16, num_layers=1, num_experts=8, intermediate_dim=16
    )
    settings = TrainingSettings(
        size=size, text=str(text), steps=270, batch_size=8, sequence_length=16
    )
    whole = Training(settings, logs=None)
    whole.begin()
    while whole.step < 8:
        whole.train_step()

    checkpoint = tmp_path / "checkpoints"
    for mesh, stop in (
        ("data=2,expert=4", 3),
        ("data=1,expert=8", 5),
        (None, 8),
    ):
        with distributed(mesh, settings.batch_size):
            part = Training(settings, logs=None)
            part.begin(checkpoint if checkpoint.exists() else None)
            while part.step < stop:
                part.train_step()
            write_checkpoint(checkpoint, part.model, part.record())
        keras.utils.clear_session(free_memory=False)
    # Sums over the batch are made in another order: a few units of the last
    # place of losses around 5.
    np.testing.assert_allclose(part.losses, whole.losses, atol=2e-6)
    assert len(set(whole.losses)) == 8
