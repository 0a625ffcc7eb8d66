"""The answers of a SavedModel and of its model to the same requests."""

import json
import pathlib
import tempfile
from typing import NamedTuple

import keras
import numpy as np

from keras_moe.export.child_process import run_tensorflow_process
from keras_moe.export.inference_function import make_endpoint_function
from keras_moe.export.inference_function import make_inference_function
from keras_moe.export.model_inputs import describe_model_inputs
from keras_moe.export.sample_bounds import find_integer_bound
from keras_moe.export.scratch_folder import remove_abandoned
from keras_moe.export.scratch_folder import scratch_folder

SCRATCH_PREFIX = "keras_moe-verify-"
RUNNER = pathlib.Path(__file__).with_name("saved_model_runner.py")
DEFAULT = "serving_default"


class Answer(NamedTuple):
    """What one request to one signature gives.

    Attributes:
        signature: string, the name of the signature.
        inputs: dict from input name to array, defaults included.
        served: dict from output name to array, of the SavedModel.
        expected: dict from output name to array, of the model.
    """

    signature: str
    inputs: dict
    served: dict
    expected: dict


def make_live_functions(model, endpoints):
    """Make the functions that a SavedModel's signatures are compared with.

    Args:
        model: a built `keras.Model`.
        endpoints: tuple of `keras_moe.export.endpoints.Endpoint`.

    Returns:
        dict from signature name to function of a dict of arrays.
    """
    return {
        DEFAULT: make_inference_function(model),
        **{x.name: make_endpoint_function(model, x) for x in endpoints},
    }


def collect_answers(
    model, folder, functions, *, task, samples, batch_shapes, seed, verbose
):
    """Ask a SavedModel and its model the same.

    Args:
        model: the `keras.Model` that was exported.
        folder: `pathlib.Path` of the SavedModel.
        functions: dict from signature name to function, from
            `make_live_functions`. A signature that is not there is not asked.
        task: string, what to call the work.
        samples: as for `verify_saved_model`.
        batch_shapes: as for `verify_saved_model`.
        seed: int.
        verbose: bool, whether to show progress.

    Returns:
        A list of `Answer`.

    Raises:
        ValueError: if a SavedModel's inputs or outputs are not those of the
            model, or the samples do not fit it.
        RuntimeError: if the SavedModel cannot be loaded or run.
    """
    names = _input_names(model)
    remove_abandoned(tempfile.gettempdir(), SCRATCH_PREFIX)
    with scratch_folder(tempfile.gettempdir(), SCRATCH_PREFIX) as scratch:
        job = {
            "saved_model": str(folder.absolute()),
            "results": str(scratch / "results.npz"),
            "signatures": list(functions),
            "seed": seed,
            "batch_shapes": batch_shapes,
            "integer_bound": find_integer_bound(model),
            **_store_samples(samples, scratch / "samples.npz"),
        }
        (scratch / "job.json").write_text(json.dumps(job))
        run_tensorflow_process(
            [str(RUNNER), str(scratch / "job.json")],
            task,
            verbose=verbose,
        )
        report = json.loads((scratch / "report.json").read_text())
        found = report.get("signatures", {})
        served_inputs = found.get(DEFAULT, {}).get("inputs")
        _check_names("inputs", served_inputs, names, folder)
        if "error" in report:
            raise ValueError(report["error"])
        with np.load(job["results"]) as stored:
            served = [
                (name, *_read_sample(stored, name, number))
                for name in found
                for number in range(found[name]["samples"])
            ]
    answers = []
    for name, inputs, outputs in served:
        expected = functions[name](inputs)
        _check_names("outputs", sorted(outputs), sorted(expected), folder)
        _check_shapes(outputs, expected)
        answers.append(Answer(name, inputs, outputs, expected))
    return answers


def _input_names(model):
    """List the names of a model's inputs, None where it does not record any."""
    if getattr(model, "inputs", None) is None and getattr(model, "built", None):
        return None
    return [x.name for x in describe_model_inputs(model)]


def _check_names(kind, served, own, folder):
    """Refuse a SavedModel of another model."""
    if served is None or own is None or sorted(served) == sorted(own):
        return
    raise ValueError(
        f"Expected a SavedModel with the model's {kind} {sorted(own)}. "
        f"Received: path={str(folder)!r} with the {kind} {sorted(served)}. "
        "Export this model anew."
    )


def _check_shapes(served, expected):
    for name, array in served.items():
        if array.shape != expected[name].shape:
            raise ValueError(
                f"Expected output {name!r} of the model's shape "
                f"{expected[name].shape}. Received: a SavedModel that gives "
                f"{array.shape}. Export this model anew."
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


def _read_sample(stored, signature, number):
    """Read one sample's inputs and outputs from the child's results."""
    found: dict[str, dict] = {"input": {}, "output": {}}
    for key in stored.files:
        name, index, kind, tensor = key.split("/", maxsplit=3)
        if name == signature and int(index) == number:
            found[kind][tensor] = stored[key]
    return found["input"], found["output"]
