"""Two processes train one model; one is killed, and both go on."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.exhaustive

RUN = Path(__file__).with_name("long_run.py")
KILLED_AT = Path(__file__).with_name("killed_at.py")
KILLS = int(os.environ.get("KERAS_MOE_KILLS", "2"))
# More than all kills let pass.
STEPS = 40 + 20 * KILLS


@pytest.fixture(autouse=True)
def _not_tensorflow(backend):
    if backend == "tensorflow":
        pytest.skip("experts are on all processes of TensorFlow")
    pytest.importorskip("orbax.checkpoint")


def launch(folder, count, log, seconds=0.0, steps=STEPS, dies=None, at=()):
    """Start the processes of a run, and return them.

    The one of rank `dies` is killed at a moment, as `killed_at.py` takes it.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = f"--xla_force_host_platform_device_count={8 // count}"
    processes = []
    for rank in range(count):
        with open(log / f"{rank}.txt", "w") as file:
            processes.append(
                subprocess.Popen(
                    [sys.executable]
                    + [str(KILLED_AT), *at] * (rank == dies)
                    + [str(RUN), str(rank), str(count)]
                    + [str(port), str(folder), str(steps), str(seconds)],
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    env={
                        **os.environ,
                        "JAX_PLATFORMS": "cpu",
                        "XLA_FLAGS": os.environ.get("XLA_FLAGS", "")
                        + f" {flags}",
                    },
                )
            )
    return processes


def words(log, rank, name):
    """Return what a process printed after a name, line by line."""
    lines = (log / f"{rank}.txt").read_text().splitlines()
    return [line.split()[1:] for line in lines if line.startswith(name + " ")]


def wait_for(log, rank, name, process):
    """Wait until a process has printed a word, or has ended."""
    while not words(log, rank, name) and process.poll() is None:
        time.sleep(0.2)


def losses(log, rank):
    """Return the loss of each step that a process has trained."""
    return {int(step): float(loss) for step, loss in words(log, rank, "loss")}


def saved(folder):
    """Return the latest step that is there as a whole."""
    names = os.listdir(folder) if folder.exists() else []
    steps = [int(name) for name in names if name.isdigit()]
    return max(steps, default=0)


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_a_killed_process_costs_the_steps_since_the_last_save(
    tmp_path, backend
):
    whole = tmp_path / "whole"
    (one,) = launch(whole, 1, tmp_path)
    one.wait()
    (expected,) = words(tmp_path, 0, "ends")
    moments = random.Random(0)
    folder = tmp_path / "run"
    done = 0
    for kill in range(KILLS):
        both = launch(folder, 2, tmp_path, seconds=0.2)
        victim = both[kill % 2]
        wait_for(tmp_path, kill % 2, "begins", victim)
        (begins,) = words(tmp_path, kill % 2, "begins")
        assert int(begins[0]) == done
        # Some die in training or saving, others in restoring or compiling.
        while kill % 4 < 2 and saved(folder) == done and not victim.poll():
            time.sleep(0.1)
        time.sleep(moments.uniform(0.0, 3.0))
        victim.send_signal(signal.SIGKILL)
        for each in both:
            # The other ends by itself.
            each.wait(timeout=120)
            assert each.returncode != 0
        assert saved(folder) >= done
        done = saved(folder)
        assert done > 0
    # A request to end, to one process: both save the same step and end well.
    both = launch(folder, 2, tmp_path, seconds=0.2)
    wait_for(tmp_path, 1, "loss", both[1])
    both[1].send_signal(signal.SIGTERM)
    assert [each.wait(timeout=120) for each in both] == [0, 0]
    ends = [words(tmp_path, rank, "ends")[0] for rank in (0, 1)]
    assert ends[0] == ends[1]
    assert ends[0][1] == "True"
    assert saved(folder) == int(ends[0][0]) < STEPS
    done = saved(folder)

    both = launch(folder, 2, tmp_path)
    assert [each.wait(timeout=300) for each in both] == [0, 0]
    (begins,) = words(tmp_path, 0, "begins")
    assert int(begins[0]) == done
    (ends,) = words(tmp_path, 1, "ends")
    assert ends[:2] == expected[:2] == [str(STEPS), "False"]
    assert float(ends[2]) == pytest.approx(float(expected[2]), rel=1e-5)
    # Every row of every batch was read once; on PyTorch each process reads
    # all, of which `replicate` gives it a part.
    own, others = (words(tmp_path, rank, "rows") for rank in (0, 1))
    read = [
        [int(row) for row in (a[1:] + b[1:] if backend == "jax" else a[1:])]
        for a, b in zip(own, others, strict=False)
        if int(a[0]) < STEPS
    ]
    assert read == [[*range(8)]] * (STEPS - done)
    assert [int(a[0]) for a in own][: STEPS - done] == [*range(done, STEPS)]


# What a process is doing when it dies: its rank, the event and its path, how
# often it comes, and how many steps are saved by then.
MOMENTS = {
    "begins to save": (0, "os.mkdir", "/state.orbax-checkpoint-tmp$", 2, 3),
    "has saved, without a name": (0, "os.rename", r"/\d+.[\w-]*-tmp$", 2, 3),
    "the other one begins to restore": (1, "open", r"/\d+/state/_MET", 1, 0),
    "has restored": (0, "open", r"/\d+/record/metadata$", 1, 0),
}
# Where each process writes.
ON_JAX = {
    "begins to restore": (0, "open", r"/\d+/state/_METADATA$", 1, 0),
    "saves": (0, "open", "-tmp/state.orbax-checkpoint-tmp/_METADATA$", 2, 3),
    "the other one saves": (1, "open", "-tmp/array_metadatas/", 2, 3),
    "the other one has restored": (1, "open", r"/\d+/record/meta", 1, 0),
    "removes an old step": (0, "os.rmdir", r"/\d+$", 1, 3),
}


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_a_process_may_die_while_it_saves_and_while_it_restores(
    tmp_path, backend
):
    steps = 20
    (one,) = launch(tmp_path / "whole", 1, tmp_path, steps=steps)
    one.wait()
    expected = losses(tmp_path, 0)
    assert len(expected) == steps
    folder = tmp_path / "run"
    done = 0
    moments = MOMENTS | (ON_JAX if backend == "jax" else {})
    for name, (rank, event, path, often, saves) in moments.items():
        moment = [event, path, str(often)]
        both = launch(folder, 2, tmp_path, 0.0, steps, dies=rank, at=moment)
        # The other ends by itself.
        codes = [each.wait(timeout=120) for each in both]
        assert codes[rank] == -signal.SIGKILL, name
        assert codes[1 - rank] != 0, name
        assert saved(folder) == done + saves, name
        for begins in words(tmp_path, 0, "begins"):
            assert int(begins[0]) == done, name
        if done and saves:
            (says,) = words(tmp_path, 0, "Resuming")
            assert says[:3] == ["at", "step", str(done)]
        for step, loss in losses(tmp_path, 0).items():
            assert loss == pytest.approx(expected[step], abs=1e-5), name
        done = saved(folder)
    # Without a kill and by one process: what is left, and nothing but whole
    # steps.
    (one,) = launch(folder, 1, tmp_path, steps=steps)
    assert one.wait(timeout=300) == 0
    assert [*losses(tmp_path, 0)] == [*range(done + 1, steps + 1)]
    for step, loss in losses(tmp_path, 0).items():
        assert loss == pytest.approx(expected[step], abs=1e-5)
    assert sorted(os.listdir(folder))[-1].isdigit()
    assert all(name.isdigit() for name in os.listdir(folder))
