"""A file is compared with its model before it is published."""

import json

import keras
import numpy as np
import pytest

from keras_moe.export.formats import check_file as module
from keras_moe.export.formats import child
from keras_moe.export.formats.check_file import check_file
from keras_moe.export.formats.table import FORMATS

pytestmark = pytest.mark.once


@pytest.fixture
def check(monkeypatch, tmp_path):
    """Check a file that answers what a function says."""

    def run(answer, samples):
        def pretend(arguments, task, backend, verbose):
            with open(arguments[-1]) as job_file:
                job = json.load(job_file)
            results = {
                f"{number}/{name}": array
                for number, sample in enumerate(
                    child.read_batches(job["samples"])
                )
                for name, array in answer(sample).items()
            }
            np.savez(job["results"], **results)

        monkeypatch.setattr(module, "run_child_process", pretend)
        return check_file(
            doubling_model(),
            FORMATS["onnx"],
            tmp_path / "model.onnx",
            samples,
            tmp_path,
            verbose=False,
        )

    return run


def doubling_model():
    inputs = keras.Input((2,), name="x")
    return keras.Model(inputs, {"y": keras.layers.Rescaling(2.0)(inputs)})


def samples(*values):
    return [{"x": np.array([value], "float32")} for value in values]


def test_the_difference_is_the_largest_of_all_batches(check):
    offsets = iter([1e-5, 3e-5])
    difference = check(
        lambda inputs: {"y": 2 * inputs["x"] + next(offsets)},
        samples([1.0, 2.0], [0.0, 0.0]),
    )
    assert difference == pytest.approx(3e-5, rel=0.1)


def test_a_file_that_answers_otherwise_is_refused(check):
    with pytest.raises(RuntimeError) as error:
        check(lambda x: {"y": 2 * x["x"] + 0.5}, samples([1.0, 2.0]))
    message = str(error.value)
    assert "model.onnx to answer as the model does" in message
    assert "'y' that differs by 5.0e-01, more than 4.0e-04" in message
    assert "shapes {'x': (1, 2)}" in message


def test_the_tolerance_is_relative_to_large_numbers(check):
    # 1e-4 of 2000 is 0.2.
    check(lambda x: {"y": 2 * x["x"] + 0.19}, samples([1000.0, 1.0]))
    with pytest.raises(
        RuntimeError, match="differs by 2.1e-01, more than 2.0e-01"
    ):
        check(lambda x: {"y": 2 * x["x"] + 0.21}, samples([1000.0, 1.0]))


def test_nan_and_another_shape_are_refused(check):
    with pytest.raises(RuntimeError, match="differs by inf"):
        check(lambda x: {"y": x["x"] * np.nan}, samples([1.0, 1.0]))
    with pytest.raises(RuntimeError, match=r"shape \(1, 3\), not \(1, 2\)"):
        check(lambda x: {"y": np.zeros((1, 3), "f4")}, samples([1.0, 1.0]))


def test_other_outputs_are_refused(check):
    with pytest.raises(RuntimeError, match=r"\['y'\].*Received: \['z'\]"):
        check(lambda x: {"z": x["x"]}, samples([1.0, 1.0]))
