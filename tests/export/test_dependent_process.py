"""A program that ends with the process that started it."""

import subprocess
import sys
import time

import pytest

from keras_moe.export.child_process import DEPENDENT_PROCESS

# Plain Python.
pytestmark = pytest.mark.once


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-P", str(DEPENDENT_PROCESS), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_it_ends_when_its_standard_input_ends():
    code = "import time; print('working', flush=True); time.sleep(300)"
    with start("-c", code) as process:
        assert process.stdout.readline() == "working\n"
        began = time.monotonic()
        process.stdin.close()
        assert process.wait() == 1
    assert time.monotonic() - began < 60


def test_it_runs_code_files_and_modules_with_their_arguments(tmp_path):
    code = "import sys; print(__name__, sys.argv[1:])"
    file = tmp_path / "program.py"
    file.write_text(code)
    for program in (["-c", code], [str(file)]):
        with start(*program, "one", "two") as process:
            assert process.stdout.read() == "__main__ ['one', 'two']\n"
            assert process.wait() == 0
    with start("-m", "calendar", "2026", "11") as process:
        assert "November 2026" in process.stdout.read()
        assert process.wait() == 0


def test_exit_codes_are_the_programs():
    with start("-c", "raise SystemExit(7)") as process:
        assert process.wait() == 7
