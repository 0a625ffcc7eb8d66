"""What the runner reads, and that it runs without Keras."""

import subprocess
import sys

import numpy as np
import pytest

from keras_moe.export import saved_model_runner
from keras_moe.export.saved_model_runner import read_samples

# NumPy, and children without Keras.
pytestmark = pytest.mark.once

SPECS = ("token_ids", "features")


def stored(folder, *samples):
    """Write samples the way `verify_saved_model` does."""
    arrays = {
        f"{number}/{name}": np.full((1, 2), value)
        for number, sample in enumerate(samples)
        for name, value in sample.items()
    }
    np.savez(folder / "samples.npz", **arrays)
    return {
        "samples": str(folder / "samples.npz"),
        "num_samples": len(samples),
    }


def test_reads_the_samples_it_is_given(tmp_path):
    job = stored(
        tmp_path,
        {"token_ids": 1, "features": 2},
        {"token_ids": 3, "features": 4},
    )
    samples = read_samples(job, SPECS)
    assert [x["token_ids"][0, 0] for x in samples] == [1, 3]
    assert [x["features"][0, 0] for x in samples] == [2, 4]


@pytest.mark.parametrize("names", [["token_ids"], ["features", "x"]])
def test_refuses_samples_of_another_model(tmp_path, names):
    job = stored(tmp_path, dict.fromkeys(names, 1))
    message = rf"inputs \['features', 'token_ids'\].*{names[0]}"
    with pytest.raises(ValueError, match=message):
        read_samples(job, SPECS)


def test_the_packages_of_training_cannot_be_imported():
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['runner']\n"
        "try:\n"
        f"    runpy.run_path({saved_model_runner.__file__!r}, None, '__main__')"
        "\nexcept IndexError:\n"
        "    pass  # No job was given.\n"
        "for name in ('keras', 'keras.layers', 'jax', 'torch', 'keras_moe'):\n"
        "    try:\n"
        "        __import__(name)\n"
        "    except ModuleNotFoundError:\n"
        "        continue\n"
        "    sys.exit(f'{name} could be imported')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
