"""The choice of a backend's files."""

import keras
import pytest

from keras_moe.ops.backend import load


def test_the_running_backends_file_is_loaded(backend):
    assert load("sorting").__name__ == f"keras_moe.ops.{backend}.sorting"


def test_a_backend_without_files_is_refused_with_the_known_ones(monkeypatch):
    monkeypatch.setattr(keras.config, "backend", lambda: "openvino")
    with pytest.raises(ValueError, match="Received: backend='openvino'") as e:
        load("sorting")
    assert "['jax', 'torch', 'tensorflow']" in str(e.value)
    assert "KERAS_BACKEND" in str(e.value)
