"""The choice of a backend's files."""

import keras
import pytest

from keras_moe.ops.backend import load
from keras_moe.ops.backend import load_or


def test_the_running_backends_file_is_loaded(backend):
    assert load("sorting").__name__ == f"keras_moe.ops.{backend}.sorting"


def test_a_backends_own_file_stands_before_the_shared_one(backend):
    found = load_or("row_sums", "shared")
    if backend == "torch":
        assert found.__name__ == "keras_moe.ops.torch.row_sums"
    else:
        assert found == "shared"


@pytest.mark.parametrize(
    "load", [load, lambda name: load_or(name, None)], ids=["load", "load_or"]
)
def test_a_backend_without_files_is_refused_with_the_known_ones(
    load, monkeypatch
):
    monkeypatch.setattr(keras.config, "backend", lambda: "openvino")
    with pytest.raises(ValueError, match="Received: backend='openvino'") as e:
        load("sorting")
    assert "['jax', 'torch', 'tensorflow']" in str(e.value)
    assert "KERAS_BACKEND" in str(e.value)
