"""The child process: its environment, its progress and its failures."""

import importlib.util
import sys

import pytest

from keras_moe.export.child_process import run_tensorflow_process

# The child runs TensorFlow, whatever the parent runs.
pytestmark = pytest.mark.once


def run(code, verbose=False):
    """Run a line of Python."""
    return run_tensorflow_process(["-c", code], "Testing", verbose=verbose)


def test_returns_the_seconds_it_took():
    seconds = run("import time; time.sleep(0.2)")
    assert 0.2 <= seconds < 60


def test_the_child_runs_keras_on_tensorflow_and_on_the_cpu(tmp_path):
    file = tmp_path / "environment"
    run(
        "import os, pathlib; pathlib.Path("
        f"{str(file)!r}).write_text(os.environ['KERAS_BACKEND'] + ' ' "
        "+ os.environ['CUDA_VISIBLE_DEVICES'])"
    )
    assert file.read_text() == "tensorflow -1"


def test_the_child_finds_the_modules_of_the_parent(monkeypatch, tmp_path):
    (tmp_path / "keras_moe_only_here.py").write_text("")
    with pytest.raises(RuntimeError, match="No module named"):
        run("import keras_moe_only_here")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    run("import keras_moe_only_here")


def test_the_working_folder_does_not_shadow_modules(monkeypatch, tmp_path):
    (tmp_path / "json.py").write_text("raise SystemExit(3)")
    monkeypatch.setattr(sys, "path", [x for x in sys.path if x != ""])
    monkeypatch.chdir(tmp_path)
    run("import json")


def test_a_failure_shows_the_last_lines():
    code = (
        "import sys\n"
        "for number in range(100): print(f'line {number}.', file=sys.stderr)\n"
        "raise OSError('the cause')"
    )
    with pytest.raises(RuntimeError) as failure:
        run(code)
    message = str(failure.value)
    assert "Testing: expected the TensorFlow process to succeed" in message
    assert "Received: exit code 1" in message
    assert "line 99." in message
    assert message.endswith("OSError: the cause")
    assert "line 50." not in message


def test_a_killed_child_hints_at_memory():
    with pytest.raises(RuntimeError, match="signal 9; the memory may not"):
        run("import os; os.kill(os.getpid(), 9)")


def test_a_chatty_child_does_not_block():
    # More than a pipe holds, on both of them.
    run(
        "import sys; print('x\\n' * 10**6); print('y' * 10**6, file=sys.stderr)"
    )


def test_progress_is_one_line_where_there_is_no_terminal(capfd):
    run("print('stage: working'); print('noise')", verbose=True)
    assert capfd.readouterr().out == "Testing ...\n"


def test_quiet_is_quiet(capfd):
    run("print('stage: working')")
    assert capfd.readouterr() == ("", "")


def test_stages_show_on_a_terminal(capfd, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("TTY_INTERACTIVE", "1")
    run(
        "import time; print('stage: working hard', flush=True); time.sleep(1)",
        verbose=True,
    )
    assert "Testing: working hard" in capfd.readouterr().out


def test_without_tensorflow_says_how_to_install_it(monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: None if name == "tensorflow" else find_spec(name),
    )
    with pytest.raises(ImportError, match="pip install tensorflow"):
        run("")
