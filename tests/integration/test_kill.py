"""`kill -9` at any moment: nothing finished is lost, nothing is left behind."""

import os
import random
import signal
import subprocess
import sys
import time

import keras
import pytest

from keras_moe.cli.checkpoint import read_record
from keras_moe.cli.language_model import load_model
from keras_moe.cli.run_folder import RunFolder
from keras_moe.layers import SparseMoE

# Files, processes and signals, whatever the backend.
pytestmark = [pytest.mark.exhaustive, pytest.mark.once]

# Each starts Python and a backend anew: KERAS_MOE_KILLS=10 for a thorough look.
KILLS = int(os.environ.get("KERAS_MOE_KILLS", "4"))
# Seconds of training, which saves after every step.
TRAINING = 3.0

TRAIN = [
    *["--steps=2000", "--save-every=0", "--hidden-dim=16", "--num-layers=1"],
    *["--num-experts=4", "--intermediate-dim=16", "--sequence-length=16"],
    "--batch-size=4",
]


def command(arguments, temporary):
    return subprocess.Popen(
        [sys.executable, "-m", "keras_moe.cli", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    )


def kill_after(seconds, arguments, temporary):
    """Start a command and kill it some time after its first line."""
    with command(arguments, temporary) as process:
        # Until then it imports; what can break comes later.
        first = process.stdout.readline()
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        # Ends when nobody holds the pipe any more, children included.
        rest = process.stdout.read()
    return first + rest


@pytest.fixture
def temporary(tmp_path):
    """A folder for temporary files that must be empty in the end."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    return folder


@pytest.mark.timeout(1200)
def test_training_that_is_killed_goes_on(tmp_path, temporary):
    text = tmp_path / "text.txt"
    text.write_bytes(bytes(range(32, 127)) * 150)
    folder = RunFolder(tmp_path / "run")
    moments = random.Random(0)
    arguments = ["train", "--run-dir", folder.path, "--text", text, *TRAIN]
    losses = []
    for kill in range(KILLS):
        again = ["--resume"] if folder.checkpoint.exists() else []
        seconds = moments.uniform(0.0, TRAINING)
        output = kill_after(seconds, [*arguments, *again], temporary)
        if again:
            assert f"Resuming at step {len(losses)} of 2000" in output, output
        if not folder.checkpoint.exists():
            continue
        record = read_record(folder.checkpoint)
        # Everything that was saved before is still there.
        assert record["losses"][: len(losses)] == losses, kill
        losses = record["losses"]
        load_model(folder.model)
    assert len(losses) > KILLS
    # One that ends by itself leaves the run and nothing else.
    with command([*arguments, "--resume"], temporary) as process:
        process.stdout.readline()
        time.sleep(TRAINING)
        process.send_signal(signal.SIGTERM)
        output = process.stdout.read()
    assert process.returncode == 0, output
    assert sorted(os.listdir(folder.path)) == [
        "checkpoint.npz",
        "logs",
        "model.keras",
    ]
    assert os.listdir(temporary) == []


@pytest.mark.timeout(1200)
def test_an_export_that_is_killed_leaves_nothing(tmp_path, temporary):
    model = tmp_path / "model.keras"
    # Of a language model each export would take 25 s, of processor time too.
    layers = [keras.Input((8,)), SparseMoE(num_experts=4, intermediate_dim=8)]
    keras.Sequential(layers).save(model)
    served = tmp_path / "served"
    first = ["export", model, served]
    with command(first, temporary) as process:
        process.stdout.readline()
        began = time.monotonic()
        process.stdout.read()
    assert process.returncode == 0
    duration = time.monotonic() - began
    finished = (served / "1" / "fingerprint.pb").read_bytes()
    moments = random.Random(0)
    existed = False
    for kill in range(KILLS):
        arguments = ["export", model, served, "--version=2", "--overwrite"]
        seconds = moments.uniform(0.0, duration)
        kill_after(seconds, arguments, temporary)
        assert (served / "1" / "fingerprint.pb").read_bytes() == finished, kill
        # TensorFlow Serving sees whole versions or none, and one that is
        # replaced stays until the other is there.
        assert (served / "2").exists() or not existed
        existed = (served / "2").exists()
        if existed:
            assert (served / "2" / "saved_model.pb").is_file()
            extra = served / "2" / "assets.extra"
            assert sorted(os.listdir(extra)) == [
                "keras_moe.json",
                "tf_serving_warmup_requests",
            ]
    last = ["export", model, served, "--version=3"]
    with command(last, temporary) as process:
        output = process.stdout.read()
    assert process.returncode == 0, output
    assert set(os.listdir(served)) in ({"1", "3"}, {"1", "2", "3"})
    assert os.listdir(temporary) == []
