"""Contestants that take turns, each in a process of its own.

One process per contestant lets backends compete with each other, keeps one's
memory out of another's and measures imports. Only one works at a time. The
order turns around after each round, and a ratio is the median over the rounds
of ratios within a round: what slows the machine down slows both.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).resolve().parent


class Process:
    """A contestant's process; answers commands until it is closed."""

    def __init__(self, contestant):
        self.contestant = contestant
        self._errors = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            [sys.executable, FOLDER / "worker.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=_environment(contestant.backend),
        )

    def ask(self, do, **arguments):
        command = json.dumps({"do": do, **arguments})
        try:
            self._process.stdin.write(command + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self.contestant}: {self._last_error()}")
        return json.loads(answer)

    def build(self):
        return self.ask(
            "build",
            function=self.contestant.function,
            arguments=self.contestant.arguments,
        )

    def close(self):
        self._process.stdin.close()
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()
        self._errors.close()

    def _last_error(self):
        self._process.wait()
        self._errors.seek(0)
        lines = [line.strip() for line in self._errors if line.strip()]
        return lines[-1] if lines else "ended without a word"


def take_turns(contestants, rounds, show=lambda text: None):
    """Let contestants compete.

    Args:
        contestants: list of `Contestant`, with different names.
        rounds: int, turns of each; 0 only builds and takes the first step.
        show: function of a text that says what is going on.

    Returns:
        dict: name -> dict of `backend`, `import_seconds`, `build_seconds`,
        `first_step_seconds`, `activation_bytes` (of the first step),
        `device`, `versions`, `seconds` and `cpu_seconds`, of all threads
        (lists, one number per round); or `error`.
    """
    records, processes = {}, {}
    try:
        for each in contestants:
            show(f"{each}: first step")
            processes[each.name] = process = Process(each)
            records[each.name] = {
                "backend": each.backend,
                "seconds": [],
                "cpu_seconds": [],
            }
            try:
                records[each.name].update(process.build())
            except RuntimeError as error:
                records[each.name]["error"] = str(error)
                processes.pop(each.name).close()
        for number in range(rounds):
            order = list(processes)[:: -1 if number % 2 else 1]
            for name in order:
                show(f"{name}: round {number + 1} of {rounds}")
                answer = processes[name].ask("turn")
                for figure in ("seconds", "cpu_seconds"):
                    records[name][figure].append(answer[figure])
    finally:
        for process in processes.values():
            process.close()
    return records


def ratios(numerator, denominator):
    """Return the ratio of each round, as a list."""
    return [a / b for a, b in zip(numerator, denominator, strict=False)]


def ratio(numerator, denominator):
    """Return the median of the ratios within each round; `None` if absent."""
    rounds = ratios(numerator, denominator)
    return statistics.median(rounds) if rounds else None


def _environment(backend):
    return {
        **os.environ,
        "KERAS_BACKEND": backend,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        # Contestants share the device: none may take all of its memory.
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
        "PYTHONPATH": os.pathsep.join(
            [str(FOLDER.parent), os.environ.get("PYTHONPATH", "")]
        ),
    }
