"""A run that stops and goes on is the run that did not stop."""

import numpy as np
import pytest

from keras_moe.cli.checkpoint import write_checkpoint
from keras_moe.cli.language_model import ModelSize
from keras_moe.cli.training import Training
from keras_moe.cli.training import TrainingSettings

SETTINGS = TrainingSettings(
    size=ModelSize(
        hidden_dim=16, num_layers=1, num_experts=4, intermediate_dim=16
    ),
    # A report every 3 steps, so that the stop below is in the middle of one.
    steps=270,
    batch_size=4,
    sequence_length=16,
)
STOP, END = 4, 9


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(bytes(range(32, 127)) * 150)
    return path


def test_settings_survive_as_plain_data():
    settings = TrainingSettings(size=ModelSize(top_k=3), text="a", seed=5)
    assert TrainingSettings.from_dict(settings.to_dict()) == settings


@pytest.mark.sweep
def test_a_resumed_run_repeats_the_losses_of_one_that_went_on(text, tmp_path):
    checkpoint = tmp_path / "checkpoint.npz"
    settings = SETTINGS._replace(text=str(text))
    whole = Training(settings, logs=None)
    whole.begin()
    while whole.step < END:
        whole.train_step()
        if whole.step == STOP:
            write_checkpoint(checkpoint, whole.model, whole.record())

    resumed = Training(settings, logs=None)
    resumed.begin(checkpoint)
    assert resumed.step == STOP
    while resumed.step < END:
        resumed.train_step()

    # The same program on the same numbers.
    np.testing.assert_allclose(resumed.losses, whole.losses, rtol=1e-6)
    assert len(set(whole.losses)) == END
    # The reports too: the one of step 6 covers steps of both processes.
    assert [report["step"] for report in resumed.reports] == [3, 6, 9]
    for ours, theirs in zip(resumed.reports, whole.reports, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-6)
    for ours, theirs in zip(
        resumed.model.variables, whole.model.variables, strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)
