"""A folder holds the older files or the new ones, whatever happens."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from keras_moe.checkpoints import exchange as module
from keras_moe.checkpoints.exchange import exchange
from keras_moe.checkpoints.exchange import restore

# Files and processes, no tensor of a backend.
pytestmark = pytest.mark.once

LAST = ("index", "weights")
OLD = {
    "one file": {"config": "old", "weights": "old"},
    "shards": {"config": "old", "index": "old", "shard-1": "old"},
    "both": {"config": "old", "index": "old", "weights": "old"},
    "nothing": {},
}
NEW = {
    "one file": {"config": "new", "weights": "new", "tokenizer": "new"},
    "shards": {"config": "new", "index": "new", "shard-2": "new"},
}
OTHERS = {"notes": "mine"}


# The module alone: a process that imports Keras first takes seconds.
IMPORT = f"""
import runpy, sys
exchange = runpy.run_path({module.__file__!r})["exchange"]
print("ready", flush=True)
"""


def owned(name):
    return name in LAST or name.startswith("shard")


def write(folder, files):
    for name, words in files.items():
        (folder / name).write_text(words)


def save(folder, files):
    with exchange(folder, owned, LAST) as unfinished:
        write(unfinished, files)


def contents(folder):
    """Read a folder; hidden folders by their names alone."""
    return {
        each.name: each.read_text() if each.is_file() else None
        for each in folder.iterdir()
    }


def files(folder):
    """Read what every reader sees."""
    found = contents(folder)
    return {name: found[name] for name in found if found[name] is not None}


def start(script, folder):
    """Run a script in another process; come back when it is ready."""
    command = [sys.executable, "-c", IMPORT + script, folder]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    with process.stdout:
        assert process.stdout.readline() == b"ready\n"
    return process


class Killed(BaseException):
    """Stands for a signal that nobody can catch."""


def kill_after(steps, monkeypatch):
    """Let so many changes of the folder happen, then none."""
    left = iter(range(steps))

    def changing(function):
        def wrapped(*arguments, **named):
            if next(left, None) is None:
                raise Killed
            return function(*arguments, **named)

        return wrapped

    for owner, name in (
        (os, "replace"),
        (os, "rename"),
        (os, "rmdir"),
        (Path, "unlink"),
        (Path, "write_text"),
    ):
        monkeypatch.setattr(owner, name, changing(getattr(owner, name)))
    # What is left of a folder when nothing is tidied up.
    monkeypatch.setattr("shutil.rmtree", changing(lambda *_, **__: None))


@pytest.mark.parametrize("after", NEW)
@pytest.mark.parametrize("before", OLD)
def test_a_kill_at_any_step_leaves_the_older_or_the_new_files(
    before, after, tmp_path, monkeypatch
):
    old, new = {**OLD[before], **OTHERS}, {**NEW[after], **OTHERS}
    outcomes = []
    for steps in range(100):
        folder = tmp_path / str(steps)
        folder.mkdir()
        write(folder, old)
        with monkeypatch.context() as patch:
            kill_after(steps, patch)
            try:
                save(folder, NEW[after])
                finished = True
            except Killed:
                finished = False
        visible = files(folder)
        # Whole, or without an entry point. Of two, readers take the weights.
        of_two = {name: old[name] for name in old if name != "index"}
        assert (
            visible in (old, new)
            or not set(LAST) & set(visible)
            or (before == "both" and visible == of_two)
        )
        restore(folder)
        visible = files(folder)
        assert visible in (old, new)
        outcomes.append("new" if visible == new else "old")
        if finished:
            break
        # The next one works, and nothing hidden stays.
        save(folder, NEW[after])
        assert contents(folder) == new
    assert finished and outcomes[-1] == "new"
    assert outcomes == sorted(outcomes, reverse=True)


@pytest.mark.parametrize("before", OLD)
def test_a_kill_while_the_older_files_come_back_loses_none(
    before, tmp_path, monkeypatch
):
    old = {**OLD[before], **OTHERS}
    for moved in range(3, 8):
        for steps in range(100):
            folder = tmp_path / f"{moved} {steps}"
            folder.mkdir()
            write(folder, old)
            with monkeypatch.context() as patch:
                kill_after(moved, patch)
                with pytest.raises(Killed):
                    save(folder, NEW["shards"])
            with monkeypatch.context() as patch:
                kill_after(steps, patch)
                try:
                    restore(folder)
                    finished = True
                except Killed:
                    finished = False
            restore(folder)
            assert files(folder) == old
            if finished:
                break


def test_an_error_while_writing_leaves_the_folder_as_it_was(tmp_path):
    write(tmp_path, OLD["shards"])
    with pytest.raises(KeyError):
        with exchange(tmp_path, owned, LAST) as unfinished:
            write(unfinished, NEW["shards"])
            raise KeyError
    assert contents(tmp_path) == OLD["shards"]


def test_another_process_waits_until_the_files_are_exchanged(tmp_path):
    write(tmp_path, OLD["one file"])
    script = """
with exchange(sys.argv[1], lambda name: False) as unfinished:
    (unfinished / "weights").write_text("theirs")
"""
    with exchange(tmp_path, owned, LAST) as unfinished:
        process = start(script, tmp_path)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.2)
        write(unfinished, NEW["one file"])
    assert process.wait() == 0
    assert contents(tmp_path) == {**NEW["one file"], "weights": "theirs"}


@pytest.mark.exhaustive
def test_a_real_kill_at_a_random_moment_loses_nothing_finished(tmp_path):
    script = """
turn = 0
while True:
    turn += 1
    owned = lambda name: name.startswith("shard")
    with exchange(sys.argv[1], owned, ("index",)) as unfinished:
        for name in ("config", "index", f"shard-{turn}"):
            (unfinished / name).write_text(str(turn))
"""
    rng = random.Random(0)
    for _ in range(10):
        process = start(script, tmp_path)
        time.sleep(0.02 + 0.2 * rng.random())
        process.send_signal(signal.SIGKILL)
        process.wait()
        restore(tmp_path)
        found = contents(tmp_path)
        turn = found["index"]
        assert {name for name, words in found.items() if words} == {
            "config", "index", f"shard-{turn}",
        }  # fmt: skip
        assert found["config"] == found[f"shard-{turn}"] == turn
    save(tmp_path, {"config": "0", "index": "0", "shard-0": "0"})
    assert sorted(contents(tmp_path)) == ["config", "index", "shard-0"]
