"""The samples that the runner draws, and that it runs without Keras."""

import subprocess
import sys

import numpy as np
import pytest

from keras_moe.export import saved_model_runner
from keras_moe.export.saved_model_runner import draw_input
from keras_moe.export.saved_model_runner import draw_samples
from keras_moe.export.saved_model_runner import read_samples

# NumPy, and children without Keras.
pytestmark = pytest.mark.once


def draw(name, dtype, shape=(200, 7), bound=5):
    """Draw one input with a fixed seed."""
    generator = np.random.default_rng(0)
    return draw_input(name, shape, np.dtype(dtype), bound, generator)


def test_integers_fill_the_vocabulary_and_stay_in_it():
    drawn = draw("token_ids", "int32")
    assert drawn.dtype == "int32"
    assert set(np.unique(drawn)) == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("dtype", ["int32", "bool", "float32"])
def test_masks_hide_the_ends_of_rows_but_no_whole_row(dtype):
    mask = draw("encoder_padding_mask", dtype)
    assert mask.dtype == dtype
    lengths = mask.astype("int32").sum(axis=1)
    assert lengths[0] == 7
    assert set(lengths) == {1, 2, 3, 4, 5, 6, 7}
    np.testing.assert_array_equal(
        mask.astype(bool), np.arange(7) < lengths[:, None]
    )


def test_floats_are_standard_normal():
    drawn = draw("features", "float16")
    assert drawn.dtype == "float16"
    assert abs(float(drawn.std()) - 1) < 0.1


def test_bools_are_both():
    assert set(np.unique(draw("flags", "bool"))) == {False, True}


def test_refuses_to_draw_text():
    with pytest.raises(ValueError, match="'text'.*Pass samples"):
        draw("text", object)


class Spec:
    """What the runner reads of a `tf.TensorSpec`."""

    def __init__(self, dtype, *shape):
        self.dtype = self
        self.as_numpy_dtype = np.dtype(dtype)
        self.shape = self
        self.as_list = lambda: list(shape)


SPECS = {
    "token_ids": Spec("int32", None, None),
    "features": Spec("float32", None, 4, None),
}


def draw_all(*batch_shapes, seed=0):
    """Draw samples for two inputs."""
    job = {"seed": seed, "integer_bound": 5, "batch_shapes": batch_shapes}
    return draw_samples(job, SPECS)


def test_sizes_fill_the_open_dimensions_of_every_input():
    first, second = draw_all((1, 4), (3, 7))
    assert first["token_ids"].shape == (1, 4)
    assert first["features"].shape == (1, 4, 4)
    assert second["features"].shape == (3, 4, 7)


def test_the_seed_decides_the_samples():
    [first], [same], [other] = [
        draw_all((9, 9), seed=seed) for seed in (1, 1, 2)
    ]
    np.testing.assert_array_equal(first["token_ids"], same["token_ids"])
    assert (first["token_ids"] != other["token_ids"]).any()


def test_refuses_too_few_sizes():
    message = r"Received: \(3,\) for 'features' .*\(None, 4, None\).*Add"
    with pytest.raises(ValueError, match=message):
        draw_all((3,))


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
