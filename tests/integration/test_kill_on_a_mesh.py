"""`keras-moe train --mesh`, killed while it saves and while it restores."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from keras_moe.cli.checkpoint import read_record
from keras_moe.cli.run_folder import RunFolder

pytestmark = pytest.mark.exhaustive

KILLED_AT = str(Path(__file__).with_name("killed_at.py"))
STEPS = 12
TRAIN = [
    *["-m", "keras_moe.cli", "train", "--mesh=data=2,expert=4"],
    *["--save-every=0", "--hidden-dim=16", "--num-layers=1"],
    *["--num-experts=4", "--intermediate-dim=16", "--sequence-length=16"],
    *["--batch-size=8", f"--steps={STEPS}"],
]

# What the run is doing when it dies: the event and its path, how often it
# comes, and how many steps are saved by then. The untrained model is, too.
MOMENTS = {
    "begins to save": ("os.mkdir", "/state.orbax-checkpoint-tmp$", 2, 0),
    "saves the model": ("os.rename", "-model.keras$", 2, 1),
    "has saved, without a name": ("os.rename", r"/\d+.[\w-]*-tmp$", 3, 2),
    "begins to restore": ("open", r"/\d+/state/_METADATA$", 1, 0),
    "saves": ("open", "-tmp/array_metadatas/process_0$", 4, 1),
    "removes an old step": ("os.rmdir", r"/\d+$", 1, 1),
    "restores": ("open", r"/\d+/state/array_metadatas/process_0$", 1, 0),
}


@pytest.fixture
def train(backend, tmp_path):
    """Return `train(folder, *arguments, at=())`, what a process did."""
    if backend != "jax":
        pytest.skip("a mesh of one process is JAX'")
    pytest.importorskip("orbax.checkpoint")
    text = tmp_path / "text.txt"
    text.write_bytes(bytes(range(32, 127)) * 150)
    flags = "--xla_force_host_platform_device_count=8"
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", "") + f" {flags}",
    }

    def train(folder, *arguments, at=()):
        killed = [KILLED_AT, *map(str, at)] if at else []
        command = [sys.executable, *killed, *TRAIN, f"--text={text}"]
        return subprocess.run(
            [*command, f"--run-dir={folder.path}", *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=500,
        )

    return train


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_it_goes_on_from_its_last_step(train, tmp_path):
    whole = RunFolder(tmp_path / "whole")
    run = train(whole)
    assert run.returncode == 0, run.stderr
    expected = read_record(RunFolder(whole.path).checkpoint)["losses"]
    folder = RunFolder(tmp_path / "run")
    done = 0
    for name, (*moment, saves) in MOMENTS.items():
        again = ["--resume"] if folder.path.exists() else []
        run = train(folder, *again, at=moment)
        assert run.returncode == -signal.SIGKILL, (name, run.stderr)
        if again and saves:
            assert f"Resuming at step {done} of {STEPS}." in run.stdout, name
        done += saves
        folder = RunFolder(folder.path)
        losses = read_record(folder.checkpoint)["losses"]
        assert len(losses) == done, name
        # The same program on the same numbers.
        assert losses == pytest.approx(expected[:done], abs=1e-6)
    run = train(folder, "--resume")
    assert run.returncode == 0, run.stderr
    assert f"Resuming at step {done} of {STEPS}." in run.stdout
    record = read_record(folder.checkpoint)
    assert record["losses"] == pytest.approx(expected, abs=1e-6)
    names = ["checkpoints", "logs", "model.keras"]
    assert sorted(os.listdir(folder.path)) == names
    assert all(name.isdigit() for name in os.listdir(folder.checkpoint))
