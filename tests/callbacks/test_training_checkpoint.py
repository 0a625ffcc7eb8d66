"""A run that stops and goes on is the run that never stopped."""

import os
import signal
import sys

import keras
import numpy as np
import pytest

from keras_moe.callbacks import TrainingCheckpoint
from keras_moe.layers import SparseMoE

pytest.importorskip("orbax.checkpoint")

STEPS = 6


def batches(step):
    """Yield batches that depend on their step alone."""
    while True:
        x = np.random.default_rng((0, step)).normal(size=(4, 3, 2))
        yield x.astype("float32"), x[..., :1].astype("float32")
        step += 1


def make_model(units=1):
    inputs = keras.Input((3, 2))
    # Its random numbers must go on too.
    hidden = keras.layers.Dropout(0.5)(inputs)
    hidden = SparseMoE(num_experts=4, intermediate_dim=4)(hidden)
    model = keras.Model(inputs, keras.layers.Dense(units)(hidden))
    model.compile(keras.optimizers.Adam(0.01), "mse")
    return model


def train(model, first, last, *callbacks):
    """Train on the batches of some steps, and return their mean losses."""
    means = []
    note = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: means.append(logs["loss"])
    )
    model.fit(
        batches(first),
        steps_per_epoch=last - first,
        shuffle=False,
        verbose=0,
        callbacks=[*callbacks, note],
    )
    return means


class Signal(keras.callbacks.Callback):
    """Sends this process a signal in the middle of a step."""

    def __init__(self, step, number=signal.SIGTERM):
        super().__init__()
        self.step, self.number = step, number

    def on_train_batch_begin(self, batch, logs=None):
        if batch == self.step - 1:
            signal.raise_signal(self.number)


@pytest.mark.sweep
def test_a_run_goes_on_where_a_signal_ended_it(tmp_path, capsys):
    keras.utils.set_random_seed(1)
    whole = make_model()
    train(whole, 0, STEPS)

    keras.utils.set_random_seed(1)
    checkpoint = TrainingCheckpoint(tmp_path / "run", save_every=2)
    stopped = make_model()
    assert checkpoint.restore(stopped) == 0
    train(stopped, 0, STEPS, checkpoint, Signal(3))
    assert (checkpoint.step, checkpoint.stopped) == (3, True)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL

    keras.utils.set_random_seed(2)
    again = TrainingCheckpoint(tmp_path / "run", save_every=2)
    resumed = make_model()
    assert again.restore(resumed) == 3
    assert capsys.readouterr().out == (
        f"Resuming at step 3 of {tmp_path / 'run'}.\n"
    )
    train(resumed, 3, STEPS, again)
    assert (again.step, again.stopped) == (STEPS, False)
    for ours, theirs in zip(
        resumed.variables + resumed.optimizer.variables,
        whole.variables + whole.optimizer.variables,
        strict=True,
    ):
        # The same program on the same numbers.
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-7)


@pytest.mark.once
def test_the_latest_steps_stay(tmp_path):
    checkpoint = TrainingCheckpoint(tmp_path, save_every=2, max_to_keep=2)
    train(make_model(), 0, 7, checkpoint)
    # Of 2, 4, 6 and the end.
    assert sorted(os.listdir(tmp_path)) == ["6", "7"]


@pytest.mark.once
def test_time_saves_as_well(tmp_path):
    checkpoint = TrainingCheckpoint(tmp_path, save_every_seconds=1e-9)
    train(make_model(), 0, 3, checkpoint)
    assert sorted(os.listdir(tmp_path)) == ["1", "2", "3"]


@pytest.mark.once
def test_what_a_killed_process_left_is_removed(tmp_path):
    train(make_model(), 0, 2, TrainingCheckpoint(tmp_path))
    half = tmp_path / "4.orbax-checkpoint-tmp"
    half.mkdir()
    checkpoint = TrainingCheckpoint(tmp_path)
    assert checkpoint.restore(make_model()) == 2
    assert os.listdir(tmp_path) == ["2"]


@pytest.mark.once
def test_a_run_is_not_continued_by_accident(tmp_path):
    train(make_model(), 0, 2, TrainingCheckpoint(tmp_path))
    with pytest.raises(ValueError, match=r"at step 0. Call `restore\(model"):
        train(make_model(), 0, 2, TrainingCheckpoint(tmp_path))
    with pytest.raises(ValueError, match="other shapes.* Make the same model"):
        TrainingCheckpoint(tmp_path).restore(make_model(units=2))


@pytest.mark.once
def test_a_model_must_be_compiled(tmp_path):
    train(make_model(), 0, 1, TrainingCheckpoint(tmp_path))
    model = keras.Sequential([keras.layers.Dense(1)])
    with pytest.raises(ValueError, match="Call `build` and `compile` first"):
        TrainingCheckpoint(tmp_path).restore(model)


@pytest.mark.once
@pytest.mark.parametrize(
    "name", ["save_every", "save_every_seconds", "max_to_keep"]
)
def test_numbers_are_positive(tmp_path, name):
    with pytest.raises(ValueError, match=f"positive {name}. Received: {name}"):
        TrainingCheckpoint(tmp_path, **{name: 0})


@pytest.mark.once
def test_several_processes_save_by_step(tmp_path, monkeypatch):
    module = sys.modules["keras_moe.callbacks.training_checkpoint"]
    monkeypatch.setattr(module, "num_processes", lambda: 2)
    with pytest.raises(ValueError, match="for 2 processes. Use `save_every`"):
        TrainingCheckpoint(tmp_path, save_every_seconds=60)


@pytest.mark.once
def test_processes_must_know_each_other(tmp_path, monkeypatch):
    # As `torchrun` says; each would take itself for the one that writes.
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RuntimeError, match=r"Call `torch.*init_process_group"):
        TrainingCheckpoint(tmp_path)


@pytest.mark.once
def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "orbax.checkpoint", None)
    with pytest.raises(ImportError, match=r"pip install 'keras-moe\[scale\]'"):
        TrainingCheckpoint(tmp_path)
