"""What a checkpoint must not be taken for."""

import keras
import numpy as np
import pytest

from keras_moe.cli.checkpoint import read_record
from keras_moe.cli.checkpoint import restore_variables
from keras_moe.cli.checkpoint import write_checkpoint

pytestmark = pytest.mark.once


def small_model(units=3):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(units)])
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    return model


@pytest.fixture(params=["checkpoint.npz", "checkpoints"])
def path(request, tmp_path):
    if request.param == "checkpoints":
        pytest.importorskip("orbax.checkpoint")
    return tmp_path / request.param


def test_every_variable_of_model_and_optimizer_comes_back(path):
    model, other = small_model(), small_model()
    model.train_on_batch(np.ones((4, 2)), np.ones((4, 3)))
    write_checkpoint(path, model, {"step": 1})
    restore_variables(path, other)
    assert read_record(path) == {"step": 1}
    for ours, theirs in zip(
        model.variables + model.optimizer.variables,
        other.variables + other.optimizer.variables,
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_another_model_is_refused(path):
    write_checkpoint(path, small_model(), {"step": 0})
    with pytest.raises(ValueError, match="other shapes.*--overwrite"):
        restore_variables(path, small_model(units=4))


@pytest.mark.parametrize("content", [b"", b"words", b"PK\x03\x04 broken"])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "checkpoint.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="something else.*--overwrite"):
        read_record(path)
