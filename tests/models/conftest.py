"""What the tests of all models share."""

import keras
import pytest


@pytest.fixture(autouse=True)
def record_at_once(monkeypatch):
    """On PyTorch, few tokens are enough to see a recorded step at work."""
    if keras.config.backend() == "torch":
        monkeypatch.setattr("keras_moe.ops.torch.recorder.PATIENCE", 1)
