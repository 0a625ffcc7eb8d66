"""Compare a SavedModel with the model that it was exported from."""

import json
import pathlib
import tempfile
from typing import NamedTuple

import keras
import numpy as np

from keras_moe.export.child_process import run_tensorflow_process
from keras_moe.export.inference_function import make_inference_function
from keras_moe.export.model_inputs import describe_model_inputs
from keras_moe.export.sample_bounds import find_integer_bound
from keras_moe.export.scratch_folder import remove_abandoned
from keras_moe.export.scratch_folder import scratch_folder
from keras_moe.export.version_folder import find_version_folder

SCRATCH_PREFIX = "keras_moe-verify-"
RUNNER = pathlib.Path(__file__).with_name("saved_model_runner.py")


class VerificationResult(NamedTuple):
    """How far a SavedModel is from its model.

    Attributes:
        path: `pathlib.Path`, the version folder that was loaded.
        largest_difference: float, the largest of `differences`.
        differences: dict from output name to float, the largest absolute
            difference of any element in any sample. `inf` where only one of
            the two is NaN.
        shapes: tuple with a dict for each sample, from input name to shape.
    """

    path: pathlib.Path
    largest_difference: float
    differences: dict
    shapes: tuple


def verify_saved_model(
    model,
    path,
    *,
    samples=None,
    batch_shapes=((1, 4), (3, 7)),
    seed=0,
    verbose=True,
):
    """Run a SavedModel without Keras and compare it with its model.

    A child process in which Keras, JAX and PyTorch cannot be imported loads
    the SavedModel and answers some requests through `serving_default`. The
    model answers the same ones here, with `training=False`. The caller judges
    the difference: about 1e-6 is usual under float32, 1e-2 under
    mixed_bfloat16, and more where rounding sends a token whose best experts
    nearly tie to another expert.

    Args:
        model: the `keras.Model` that was exported.
        path: string or `pathlib.Path`, a version folder, or the folder of all
            versions, whose newest is taken.
        samples: `None` to draw random ones, or a dict from input name to
            array, or a list of such dicts.
        batch_shapes: tuple of tuples of ints, one for each random sample: the
            values for the open sizes of every input, first to last, such as
            (batch size, sequence length).
        seed: int, for the random samples.
        verbose: bool, whether to show progress.

    Returns:
        A `VerificationResult`.

    Raises:
        ValueError: if there is no SavedModel, its inputs or outputs are not
            those of the model, or the samples do not fit it.
        ImportError: if TensorFlow is not installed.
        RuntimeError: if the SavedModel cannot be loaded or run.

    Example: `export_saved_model` shows both functions at work.
    """
    _check_batch_shapes(batch_shapes)
    names = _input_names(model)
    folder = find_version_folder(path)
    remove_abandoned(tempfile.gettempdir(), SCRATCH_PREFIX)
    with scratch_folder(tempfile.gettempdir(), SCRATCH_PREFIX) as scratch:
        job = {
            "saved_model": str(folder.absolute()),
            "results": str(scratch / "results.npz"),
            "seed": seed,
            "batch_shapes": batch_shapes,
            "integer_bound": find_integer_bound(model),
            **_store_samples(samples, scratch / "samples.npz"),
        }
        (scratch / "job.json").write_text(json.dumps(job))
        run_tensorflow_process(
            [str(RUNNER), str(scratch / "job.json")],
            f"Verifying {folder}",
            verbose=verbose,
        )
        report = json.loads((scratch / "report.json").read_text())
        _check_names("inputs", report.get("inputs"), names, folder)
        if "error" in report:
            raise ValueError(report["error"])
        with np.load(job["results"]) as stored:
            served = [
                _read_sample(stored, number)
                for number in range(report["samples"])
            ]
    run_model = make_inference_function(model)
    differences = {name: 0.0 for name in report["outputs"]}
    for inputs, outputs in served:
        expected = run_model(inputs)
        _check_names("outputs", report["outputs"], sorted(expected), folder)
        for name, array in outputs.items():
            difference = _largest_difference(name, array, expected[name])
            differences[name] = max(differences[name], difference)
    return VerificationResult(
        path=folder,
        largest_difference=max(differences.values()),
        differences=differences,
        shapes=tuple(
            {name: array.shape for name, array in inputs.items()}
            for inputs, _ in served
        ),
    )


def _input_names(model):
    """List the names of a model's inputs, None where it does not record any."""
    if getattr(model, "inputs", None) is None and getattr(model, "built", None):
        return None
    return [x.name for x in describe_model_inputs(model)]


def _check_batch_shapes(batch_shapes):
    """Refuse sizes that no batch can have."""
    good = len(batch_shapes) > 0 and all(
        isinstance(sizes, (tuple, list))
        and all(isinstance(size, int) and size > 0 for size in sizes)
        for sizes in batch_shapes
    )
    if not good:
        raise ValueError(
            "Expected batch_shapes to be a tuple of tuples of positive "
            f"integers. Received: batch_shapes={batch_shapes!r}. "
            "Write for example ((1, 4), (3, 7))."
        )


def _check_names(kind, served, own, folder):
    """Refuse a SavedModel of another model."""
    if served is None or own is None or sorted(served) == sorted(own):
        return
    raise ValueError(
        f"Expected a SavedModel with the model's {kind} {sorted(own)}. "
        f"Received: path={str(folder)!r} with the {kind} {sorted(served)}. "
        "Export this model anew."
    )


def _store_samples(samples, file):
    """Write the caller's samples to a file for the child process."""
    if samples is None:
        return {"samples": None}
    samples = [samples] if isinstance(samples, dict) else list(samples)
    if not samples or not all(isinstance(x, dict) for x in samples):
        raise ValueError(
            "Expected samples to be a dict from input name to array, or a "
            f"list of such dicts. Received: samples={samples!r}. "
            "Name every input, also a single one."
        )
    arrays = {
        f"{number}/{name}": keras.ops.convert_to_numpy(value)
        for number, sample in enumerate(samples)
        for name, value in sample.items()
    }
    np.savez(file, **arrays)
    return {"samples": str(file), "num_samples": len(samples)}


def _read_sample(stored, number):
    """Read one sample's inputs and outputs from the child's results."""
    found: dict[str, dict] = {"input": {}, "output": {}}
    for key in stored.files:
        index, kind, name = key.split("/", maxsplit=2)
        if int(index) == number:
            found[kind][name] = stored[key]
    return found["input"], found["output"]


def _largest_difference(name, served, expected):
    """Return the largest absolute difference, inf for NaN against a number."""
    if served.shape != expected.shape:
        raise ValueError(
            f"Expected output {name!r} of the model's shape {expected.shape}. "
            f"Received: a SavedModel that gives {served.shape}. "
            "Export this model anew."
        )
    if served.size == 0:
        return 0.0
    served = served.astype("float64")
    expected = expected.astype("float64")
    same = (served == expected) | (np.isnan(served) & np.isnan(expected))
    with np.errstate(invalid="ignore"):
        difference = np.where(same, 0.0, np.abs(served - expected))
    return float(np.nan_to_num(difference, nan=np.inf, posinf=np.inf).max())
