"""Runs that stop, go on, and are not overwritten."""

import signal

import keras
import pytest

from keras_moe.cli import demo as demo_module
from keras_moe.cli import fit as fit_module
from keras_moe.cli.checkpoint import read_record
from keras_moe.cli.fit import describe
from keras_moe.cli.fit import fit
from keras_moe.cli.fit import settings_to_resume
from keras_moe.cli.language_model import ModelSize
from keras_moe.cli.language_model import load_model
from keras_moe.cli.run_folder import RunFolder
from keras_moe.cli.training import Training
from keras_moe.cli.training import TrainingSettings


@pytest.fixture
def settings(tmp_path):
    text = tmp_path / "text.txt"
    text.write_bytes(bytes(range(32, 127)) * 150)
    size = ModelSize(
        hidden_dim=16, num_layers=1, num_experts=4, intermediate_dim=16
    )
    return TrainingSettings(
        size=size, text=str(text), steps=6, batch_size=4, sequence_length=16
    )


@pytest.fixture
def stopping(monkeypatch):
    """Returns a function that makes runs get a signal in a step."""

    def stop_in(step, number=signal.SIGTERM):
        def train_step(self):
            if self.step == step - 1:
                signal.raise_signal(number)
            return original(self)

        monkeypatch.setattr(Training, "train_step", train_step)

    original = Training.train_step
    yield stop_in
    monkeypatch.setattr(Training, "train_step", original)


def stop(settings, folder, number=signal.SIGTERM, **keywords):
    with pytest.raises(fit_module.typer.Exit) as stopped:
        fit(settings, folder, **keywords)
    assert stopped.value.exit_code == (130 if number == signal.SIGINT else 0)


@pytest.mark.once
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_keeps_its_model_and_goes_on(
    settings, stopping, tmp_path, capsys, number
):
    folder = RunFolder(tmp_path / "run")
    stopping(4, number)
    stop(settings, folder, number)
    assert f"Stopped at step 4 of 6; the model is saved in {folder.model}" in (
        capsys.readouterr().out
    )
    assert describe(folder) == "a run stopped at step 4 of 6"
    assert load_model(folder.path).backbone.num_experts == 4
    stopping(0)  # Never.
    own = settings_to_resume(folder, TrainingSettings(), given=["run_dir"])
    assert own == settings
    fit(own, folder, resume=True)
    output = capsys.readouterr().out
    assert "Resuming at step 4 of 6." in output
    assert "nats per byte" in output
    record = read_record(folder.checkpoint)
    assert (record["step"], len(record["losses"])) == (6, 6)
    # And once more: nothing is left to do.
    fit(own, folder, resume=True)
    assert "The run of 6 steps is finished." in capsys.readouterr().out


@pytest.mark.once
def test_a_run_is_overwritten_only_when_asked(settings, stopping, tmp_path):
    folder = RunFolder(tmp_path / "run")
    stopping(2)
    stop(settings, folder)
    before = folder.model.read_bytes()
    message = (
        "--run-dir .*, which holds a run stopped at step 2 of 6. Add --resume "
        "to continue, --overwrite to start again"
    )
    with pytest.raises(ValueError, match=message):
        fit(settings, folder)
    assert folder.model.read_bytes() == before
    # A text that is too short is found before anything is removed.
    short = tmp_path / "short.txt"
    short.write_text("short")
    with pytest.raises(ValueError, match="at least 10,000 bytes"):
        fit(settings._replace(text=str(short)), folder, overwrite=True)
    assert folder.model.read_bytes() == before
    stopping(1)
    stop(settings, folder, overwrite=True)
    assert describe(folder) == "a run stopped at step 1 of 6"


@pytest.mark.once
def test_a_killed_run_keeps_its_last_save(settings, monkeypatch, tmp_path):
    folder = RunFolder(tmp_path / "run")

    def killed(self):
        # What is left of a process that was killed while it wrote.
        (folder.path / ".writing-1-model.keras").write_text("half")
        raise MemoryError

    monkeypatch.setattr(Training, "train_step", killed)
    with pytest.raises(MemoryError):
        fit(settings, folder)
    assert describe(folder) == "a run stopped at step 0 of 6"
    monkeypatch.undo()
    fit(settings, folder, resume=True)
    assert sorted(each.name for each in folder.path.iterdir()) == [
        "checkpoint.npz",
        "logs",
        "model.keras",
    ]


@pytest.mark.once
def test_a_run_that_was_killed_before_its_first_save_starts_again(
    settings, stopping, tmp_path
):
    folder = RunFolder(tmp_path / "run")
    stopping(1)
    stop(settings, folder)
    # The model is written first.
    folder.checkpoint.unlink()
    with pytest.raises(ValueError, match="a checkpoint. Add --overwrite to st"):
        fit(settings, folder)
    with pytest.raises(ValueError, match="Replace --resume by --overwrite"):
        settings_to_resume(folder, settings, given=[])
    stop(settings, folder, overwrite=True)


@pytest.mark.once
def test_what_cannot_be_resumed_is_refused(
    settings, stopping, tmp_path, monkeypatch
):
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(ValueError, match="no checkpoint. Remove --resume"):
        settings_to_resume(folder, settings, given=[])
    assert not folder.path.exists()
    stopping(1)
    stop(settings, folder)
    other = settings._replace(batch_size=8, steps=7)
    message = "Received: --batch-size 8 instead of 4. Remove them"
    with pytest.raises(ValueError, match=message):
        settings_to_resume(folder, other, given=["batch_size", "run_dir"])
    with open(settings.text, "ab") as file:
        file.write(b"more")
    with pytest.raises(ValueError, match="text.*changed since.*--overwrite"):
        fit(settings, folder, resume=True)
    monkeypatch.setattr(keras.config, "backend", lambda: "another")
    with pytest.raises(ValueError, match="Expected KERAS_BACKEND=torch"):
        settings_to_resume(folder, settings, given=[])


@pytest.mark.once
@pytest.mark.parametrize("hidden_dim", [15, 12])
def test_heads_need_an_even_width(settings, tmp_path, hidden_dim):
    size = settings.size._replace(hidden_dim=hidden_dim)
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(ValueError, match=f"hidden_dim={hidden_dim}, num_q"):
        fit(settings._replace(size=size), folder)
    assert not folder.path.exists()


@pytest.mark.once
def test_a_demo_goes_on_and_does_not_train_twice(
    settings, stopping, tmp_path, capsys
):
    folder = RunFolder(tmp_path / "run")
    console = fit_module.make_console()
    stopping(2)
    with pytest.raises(fit_module.typer.Exit):
        demo_module.trained(console, folder, settings)
    stopping(0)
    capsys.readouterr()
    demo_module.trained(console, folder, settings)
    assert "Resuming at step 2 of 6." in capsys.readouterr().out
    before = folder.checkpoint.read_bytes()
    model = demo_module.trained(console, folder, settings)
    assert model.backbone.num_experts == 4
    assert "which holds a finished run of 6 steps; --overwrite" in (
        capsys.readouterr().out.replace("\n", " ")
    )
    assert folder.checkpoint.read_bytes() == before
    demo_module.trained(console, folder, settings, overwrite=True)
    assert "Using" not in capsys.readouterr().out


@pytest.mark.once
def test_a_demo_leaves_other_runs_alone(settings, stopping, tmp_path):
    folder = RunFolder(tmp_path / "run")
    stopping(1)
    stop(settings, folder)
    message = "stopped at step 1 of 6 with other settings. Add --overwrite"
    with pytest.raises(ValueError, match=message):
        demo_module.demo(folder.path)


def test_float16_is_refused_where_it_cannot_be_multiplied(settings, tmp_path):
    if keras.config.backend() != "jax" or not all(
        device.startswith("cpu") for device in keras.distribution.list_devices()
    ):
        pytest.skip("JAX on a CPU alone cannot multiply float16")
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(ValueError, match="--dtype float32 or mixed_bfloat16"):
        fit(settings._replace(dtype="mixed_float16"), folder)
    assert not folder.holds_a_run()
