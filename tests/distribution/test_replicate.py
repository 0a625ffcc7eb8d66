"""Training in several processes; `tests/integration/test_replicas.py` has some.

Here is what can be seen in one.
"""

import keras
import pytest

from keras_moe.distribution import replicate


@pytest.fixture
def model():
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])


def test_one_process_is_left_as_it_is(model):
    train_step = model.train_step
    assert replicate(model) is model
    assert model.train_step == train_step


@pytest.mark.once
def test_processes_without_a_group_are_refused(model, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RuntimeError, match="Expected a process group") as error:
        replicate(model)
    assert "Received: none, and WORLD_SIZE=2. Call" in str(error.value)


@pytest.mark.once
def test_where_keras_distributes_it_is_left_to_keras(model, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(keras.distribution, "list_devices", lambda: ["cpu:0"])
    assert replicate(model) is model
