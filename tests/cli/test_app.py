"""The command line as a user meets it."""

import inspect
import json
import os
import re
import signal
import subprocess
import sys
import zipfile

import pytest
import typer
from typer.testing import CliRunner

from keras_moe.cli import app as cli_app
from keras_moe.cli.generate import continue_prompt
from keras_moe.models import MixtralBackbone
from keras_moe.models import preset

SMALL = [
    "--hidden-dim=16",
    "--num-layers=1",
    "--num-experts=4",
    "--intermediate-dim=16",
    "--sequence-length=16",
    "--batch-size=4",
]


def invoke(*arguments):
    result = CliRunner().invoke(cli_app.app, [str(a) for a in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """Trains a tiny model once for the tests that need one."""
    folder = tmp_path_factory.mktemp("run")
    text = tmp_path_factory.mktemp("text") / "text.txt"
    text.write_bytes(bytes(range(32, 127)) * 150)
    result = invoke(
        "train", "--run-dir", folder, "--text", text, "--steps=10", *SMALL
    )
    assert result.exit_code == 0
    assert "nats per byte" in result.output
    assert f"tensorboard --logdir {folder / 'logs'}" in result.output
    return folder


@pytest.mark.once
def test_help_lists_the_commands():
    output = invoke("--help").output
    for command in ("train", "generate", "export", "inspect", "demo"):
        assert command in output


@pytest.mark.once
def test_every_option_and_argument_has_help():
    group = typer.main.get_command(cli_app.app)
    parameters = [*group.params]
    for command in group.commands.values():
        assert command.help
        parameters += command.params
    silent = [each.name for each in parameters if not each.help]
    assert not silent


@pytest.mark.once
@pytest.mark.parametrize(
    "command",
    [
        "train",
        "generate",
        "export",
        "inspect",
        "plan",
        "analyze",
        "bench",
        "demo",
    ],
)
def test_help_breaks_no_word_at_80_columns(monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "80")
    lines = invoke(command, "--help").output.splitlines()
    assert max(map(len, lines)) <= 80
    # What has no room is cut with an ellipsis or within its brackets.
    assert not [line for line in lines if re.search("…|<[^>]*$", line)]


@pytest.mark.once
def test_help_waits_for_neither_keras_nor_numpy():
    program = """
import sys
sys.argv = ["/somewhere/bin/keras-moe", "train", "--help"]
from keras_moe.cli import main
try:
    main()
except SystemExit:
    pass
print([m for m in ("keras", "numpy", "jax", "torch") if m in sys.modules])
"""
    output = subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "COLUMNS": "80"},
    ).stdout
    assert output.endswith("[]\n")
    assert "--num-key-value-heads" in output


@pytest.mark.once
def test_the_version_is_that_of_the_package():
    import keras_moe

    assert invoke("--version").output == f"keras-moe {keras_moe.__version__}\n"


@pytest.mark.once
def test_an_unknown_backend_is_one_sentence(monkeypatch, capsys):
    monkeypatch.setenv("KERAS_BACKEND", "jaxx")
    monkeypatch.setattr("sys.argv", ["keras-moe", "inspect", "mixtral_8x7b"])
    with pytest.raises(SystemExit) as stopped:
        cli_app.run()
    assert stopped.value.code == 2
    assert capsys.readouterr().err == (
        "error: Expected KERAS_BACKEND to be jax, torch or tensorflow. "
        "Received: KERAS_BACKEND=jaxx.\n"
    )


@pytest.mark.once
def test_a_backend_that_is_not_installed_names_the_cure(monkeypatch, capsys):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("sys.argv", ["keras-moe", "inspect", "mixtral_8x7b"])
    with pytest.raises(SystemExit) as stopped:
        cli_app.run()
    assert stopped.value.code == 1
    assert "pip install 'keras-moe[jax]'" in capsys.readouterr().err


@pytest.mark.once
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_command_ends_with_130(monkeypatch, capsys, number):
    monkeypatch.setattr(
        cli_app, "app", lambda: signal.raise_signal(number), raising=True
    )
    with pytest.raises(SystemExit) as stopped:
        cli_app.run()
    assert stopped.value.code == 130
    assert capsys.readouterr().err == "Stopped before the end.\n"


@pytest.mark.sweep
def test_training_writes_the_model_and_its_logs(run_dir):
    assert (run_dir / "model.keras").is_file()
    assert list((run_dir / "logs").rglob("events.out.tfevents.*"))


@pytest.mark.sweep
def test_generate_continues_the_prompt(run_dir):
    result = invoke(
        "generate", run_dir, "--prompt", "import os", "--num-tokens=8"
    )
    assert result.output.startswith("import os")


@pytest.mark.sweep
def test_generate_refuses_unknown_samplers_and_empty_prompts(run_dir):
    with pytest.raises(ValueError, match="'top_p'.*Received: sampler='beam'"):
        continue_prompt(None, "def ", 8, sampler="beam")
    result = invoke("generate", run_dir, "--sampler", "beam")
    assert result.exit_code == 2
    assert "'top_p'" in result.output
    with pytest.raises(ValueError, match="at least one character"):
        invoke("generate", run_dir, "--prompt", "")


@pytest.mark.sweep
def test_export_verifies_what_it_wrote(run_dir, tmp_path):
    result = invoke("export", run_dir, tmp_path / "served")
    assert "largest difference" in result.output
    version = tmp_path / "served" / "1"
    assert (version / "saved_model.pb").is_file()
    described = (version / "assets.extra" / "keras_moe.json").read_text()
    described = json.loads(described)
    assert described["tokenizer"] == {"kind": "bytes"}
    assert {*described["signatures"]} == {
        "embed",
        "generate",
        "generate_text",
        "router_stats",
        "score",
        "serving_default",
    }
    # The sizes of a model in which sums of 256 terms are the longest.
    assert described["largest_difference"] < 1e-4
    with pytest.raises(ValueError, match="--version 2 .* or --overwrite to"):
        invoke("export", run_dir, tmp_path / "served")


def test_inspect_shows_a_preset():
    output = invoke("inspect", "mixtral_8x7b", "--tokens=1024").output
    assert "46,702,792,704" in output
    assert "12.9B" in output
    # ceil(1.25 * 1024 * 2 / 8)
    assert "320 slots" in output
    # 32 layers of 8 heads of 128 numbers, keys and values, 2 bytes each
    assert "131,072 bytes" in output


def test_inspect_reads_a_published_folder_without_its_weights(tmp_path):
    _, arguments = preset("mixtral_8x7b")
    parameters = inspect.signature(MixtralBackbone).parameters
    defaults = {name: each.default for name, each in parameters.items()}
    config = MixtralBackbone.checkpoint_format.write_config(
        {**defaults, **arguments, "jitter_noise": 0.0}
    )
    (tmp_path / "config.json").write_text(json.dumps(config))
    output = invoke("inspect", tmp_path).output
    assert "46,702,792,704" in output


def test_inspect_reads_a_folder_of_keras_hub(tmp_path):
    config = {
        "vocabulary_size": 32000,
        "num_layers": 32,
        "num_query_heads": 32,
        "num_key_value_heads": 8,
        "hidden_dim": 4096,
        "intermediate_dim": 14336,
        "num_experts": 8,
        "top_k": 2,
        "rope_max_wavelength": 1e6,
        "layer_norm_epsilon": 1e-5,
    }
    saved = {"registered_name": "keras_hub>MixtralBackbone", "config": config}
    (tmp_path / "config.json").write_text(json.dumps(saved))
    assert "46,702,792,704" in invoke("inspect", tmp_path).output


def test_inspect_names_the_architectures_it_knows(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError, match="one of .*'mixtral'"):
        invoke("inspect", tmp_path)


@pytest.mark.sweep
def test_inspect_reads_a_saved_model_without_its_weights(run_dir, tmp_path):
    small = tmp_path / "model.keras"
    with (
        zipfile.ZipFile(run_dir / "model.keras") as whole,
        zipfile.ZipFile(small, "w") as archive,
    ):
        archive.writestr("config.json", whole.read("config.json"))
    output = invoke("inspect", small).output
    assert "MixtralBackbone" in output
    assert "4, 2 per token" in output


def test_inspect_lists_the_presets_it_knows():
    with pytest.raises(ValueError, match="mixtral_8x22b"):
        invoke("inspect", "mixtral_9x9b")


def test_inspect_refuses_damaged_files(tmp_path):
    (tmp_path / "model.keras").write_text("no archive")
    with pytest.raises(ValueError, match="damaged"):
        invoke("inspect", tmp_path)


def test_errors_end_in_one_sentence(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["keras-moe", "generate", "/no/model"])
    with pytest.raises(SystemExit) as stopped:
        cli_app.run()
    assert stopped.value.code == 1
    error = capsys.readouterr().err
    assert error.startswith("error: Expected a .keras file")
    assert "Traceback" not in error
