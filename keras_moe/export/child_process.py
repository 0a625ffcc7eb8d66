"""Run a Python process with a backend of its own and watch its progress."""

import collections
import contextlib
import importlib.util
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from typing import Any

DEPENDENT_PROCESS = pathlib.Path(__file__).with_name("dependent_process.py")
STAGE_PREFIX = "stage: "
LAST_LINES = 20
NAMES = {"tensorflow": "TensorFlow", "torch": "PyTorch"}


def run_tensorflow_process(arguments, task, *, verbose=True):
    """Run `python <arguments>` with TensorFlow, showing what it is doing.

    Args:
        arguments: list of strings, as for `run_child_process`.
        task: string.
        verbose: bool.

    Returns:
        A float, the seconds that it took.

    Raises:
        ImportError: if TensorFlow is not installed.
        RuntimeError: if the process fails, with its last lines.
    """
    if importlib.util.find_spec("tensorflow") is None:
        raise ImportError(
            "Expected TensorFlow to be installed beside the backend in use, "
            "as it writes and reads SavedModels. "
            "Install it with: pip install tensorflow"
        )
    return run_child_process(
        arguments, task, backend="tensorflow", verbose=verbose
    )


def run_child_process(arguments, task, *, backend, verbose=True):
    """Run `python <arguments>` and show what it is doing.

    The process prints `stage: <what it does>` on its standard output. It
    finds the modules that this process finds, and it uses no accelerator:
    this process may hold all of its memory. If this process is killed, the
    other one ends too.

    Args:
        arguments: list of strings, the command after the interpreter.
        task: string, what the process is for, such as `"Exporting to m/1"`.
        backend: `"tensorflow"` or `"torch"`, of Keras in that process.
        verbose: bool, whether to show progress.

    Returns:
        A float, the seconds that it took.

    Raises:
        RuntimeError: if the process fails, with its last lines.
    """
    start = time.perf_counter()
    with (
        tempfile.TemporaryFile("w+", errors="replace") as errors,
        _progress(task, verbose) as show_stage,
    ):
        # -P: the working folder must not shadow modules.
        process: Any = subprocess.Popen(
            [sys.executable, "-P", str(DEPENDENT_PROCESS), *arguments],
            # Nothing is written to it: it ends when this process does.
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            errors="replace",
            env=_environment(backend),
        )
        try:
            for line in process.stdout:
                if line.startswith(STAGE_PREFIX):
                    show_stage(line.removeprefix(STAGE_PREFIX).strip())
            exit_code = process.wait()
        finally:
            process.kill()
            process.wait()
            process.stdin.close()
            process.stdout.close()
        if exit_code != 0:
            errors.seek(0)
            last = "".join(collections.deque(errors, maxlen=LAST_LINES))
            raise RuntimeError(_failure(task, backend, exit_code, last.strip()))
    return time.perf_counter() - start


def _failure(task, backend, exit_code, last_lines):
    """Word the error of a failed process."""
    cause = f"exit code {exit_code}"
    if exit_code < 0:
        cause = f"the signal {-exit_code}; the memory may not have sufficed"
    return (
        f"{task}: expected the {NAMES[backend]} process to succeed. "
        f"Received: {cause}. The last lines it wrote say why:\n{last_lines}"
    )


def _environment(backend):
    """Return the environment of the child."""
    paths = [os.path.abspath(entry) for entry in sys.path]
    return {
        # Only errors: what the child logs is shown when it fails.
        "TF_CPP_MIN_LOG_LEVEL": "2",
        **os.environ,
        "KERAS_BACKEND": backend,
        # A folder that goes when this process is killed, if there is one.
        "TMPDIR": tempfile.gettempdir(),
        "PYTHONPATH": os.pathsep.join(paths),
        "CUDA_VISIBLE_DEVICES": "-1",
    }


@contextlib.contextmanager
def _progress(task, verbose):
    """Show a task and its stages on one line, and yield the stage setter."""
    if not verbose:
        yield lambda stage: None
        return
    import rich.console

    console = rich.console.Console(highlight=False)
    # Elsewhere than on a terminal a moving line would be noise.
    if not console.is_terminal:
        console.print(f"{task} ...", markup=False)
    with console.status(task) as status:
        yield lambda stage: status.update(f"{task}: {stage}")
