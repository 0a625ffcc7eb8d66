"""Every example runs to its end, in a small setting."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
# The arguments that make it small, and a line it ends with.
SMALL = {
    "train_language_model.py": (
        ["--steps=3", "--sequence-length=32"],
        "def main(",
    ),
    "train_on_a_mesh.py": (["--epochs=1"], "devices: {'data':"),
    "train_switch_seq2seq.py": (["--steps=3"], "["),
    "add_moe_to_your_model.py": (["--epochs=1"], "val_accuracy"),
    "custom_router.py": (["--epochs=1"], "exported: largest difference"),
    "mixture_of_1991.py": (["--epochs=2"], "Regions of the experts"),
    "train_vision_moe.py": (["--epochs=1"], "plot: vision_moe.svg"),
    "recurrent_moe.py": (
        ["--steps=2", "--hidden-dim=8"],
        "plot: recurrent_moe.svg",
    ),
    "upcycle.py": (["--dense-steps=2", "--steps=2"], "sparse: loss"),
    "export_and_serve.py": (
        ["--steps=3", "--new-tokens=12"],
        "all the same:    True",
    ),
}
ON_JAX = ["train_on_a_mesh.py"]


def test_every_example_is_listed():
    assert sorted(SMALL) == sorted(p.name for p in EXAMPLES.glob("*.py"))


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", SMALL)
def test_example_runs(name, tmp_path):
    arguments, expected = SMALL[name]
    if name in ON_JAX and keras.config.backend() != "jax":
        pytest.skip("needs JAX")
    result = subprocess.run(
        [sys.executable, EXAMPLES / name, *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(EXAMPLES.parent)},
        capture_output=True,
        text=True,
        timeout=560,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert expected in result.stdout
