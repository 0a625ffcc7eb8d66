"""The child process of a verification: TensorFlow and nothing else.

Run as `python saved_model_runner.py <job.json>`. It must be run by its path:
as a module of the package it would import Keras, which it forbids.
"""

import json
import pathlib
import runpy
import sys
from typing import Any

import numpy as np

FORBIDDEN_PACKAGES = (
    "keras",
    "keras_hub",
    "keras_moe",
    "keras_nlp",
    "tf_keras",
    "jax",
    "torch",
)
DEFAULT = "serving_default"
SAMPLES = pathlib.Path(__file__).with_name("request_samples.py")


def run_saved_model(job):
    """Run a SavedModel on samples and write down what it takes and gives.

    Args:
        job: dict, as `compare_answers` writes it.

    Returns:
        A dict with the names of the inputs and outputs and the number of
        samples run of each signature, and the `error` that kept one of them
        from running.
    """
    import tensorflow as tf

    _say("loading the SavedModel")
    loaded = tf.saved_model.load(job["saved_model"])
    if DEFAULT not in loaded.signatures:
        return {
            "error": "Expected a SavedModel with the signature "
            f"'{DEFAULT}'. Received: {list(loaded.signatures)}. "
            "Export the model with keras_moe.export.export_saved_model."
        }
    defaults = _read_defaults(job["saved_model"])
    arrays: dict[str, Any] = {}
    report: dict[str, dict] = {}
    for name in job["signatures"]:
        if name not in loaded.signatures:
            continue
        answer = loaded.signatures[name]
        specs = answer.structured_input_signature[1]
        report[name] = {
            "inputs": sorted(specs),
            "outputs": sorted(answer.structured_outputs),
        }
        own = defaults.get(name, {})
        try:
            requests = _requests(job, name, specs, own)
        except ValueError as error:
            return {"signatures": report, "error": str(error)}
        for number, request in enumerate(requests):
            _say(f"{name}, request {number + 1} of {len(requests)}")
            inputs = {**own, **request}
            outputs = answer(
                **{
                    key: tf.constant(inputs[key], specs[key].dtype)
                    for key in specs
                }
            )
            for kind, tensors in (("input", inputs), ("output", outputs)):
                for key, tensor in tensors.items():
                    place = f"{name}/{number}/{kind}/{key}"
                    arrays[place] = _as_array(tensor)
        report[name]["samples"] = len(requests)
    np.savez(job["results"], **arrays)
    return {"signatures": report}


def read_samples(job, specs):
    """Read the samples that the caller gave for `serving_default`.

    Args:
        job: dict with `samples`, a file or `None`, and `num_samples`.
        specs: dict from input name to `tf.TensorSpec`.

    Returns:
        A list of dicts from input name to array, or `None`.

    Raises:
        ValueError: if a sample lacks an input or has one too many.
    """
    if job["samples"] is None:
        return None
    with np.load(job["samples"]) as stored:
        samples: list[dict] = [{} for _ in range(job["num_samples"])]
        for key in stored.files:
            number, name = key.split("/", maxsplit=1)
            samples[int(number)][name] = stored[key]
    for sample in samples:
        if sorted(sample) != sorted(specs):
            raise ValueError(
                f"Expected samples with the inputs {sorted(specs)}. "
                f"Received: a sample with {sorted(sample)}. "
                "Give each sample one array for each input."
            )
    return samples


def _requests(job, signature, specs, defaults):
    """Return what one signature is asked."""
    samples = read_samples(job, specs) if signature == DEFAULT else None
    if samples is not None:
        return samples
    module = runpy.run_path(str(SAMPLES))
    inputs = [
        module["RequestInput"](
            name,
            tuple(spec.shape.as_list()),
            np.dtype(spec.dtype.as_numpy_dtype),
            name in defaults,
        )
        for name, spec in specs.items()
    ]
    return module["draw_requests"](
        inputs, job["batch_shapes"], job["integer_bound"], job["seed"]
    )


def _read_defaults(folder):
    """Read the values for inputs that requests leave out, by signature."""
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2

    contents = pathlib.Path(folder, "saved_model.pb").read_bytes()
    saved = saved_model_pb2.SavedModel.FromString(contents)
    return {
        name: {
            key: tf.make_ndarray(value)
            for key, value in signature.defaults.items()
        }
        for name, signature in saved.meta_graphs[0].signature_def.items()
    }


def _as_array(tensor):
    """Return an array that a file can hold; text as bytes."""
    array = np.asarray(tensor)
    return array.astype("S") if array.dtype == object else array


def _say(stage):
    """Tell the parent process what is being done."""
    print(f"stage: {stage}", flush=True)


def _forbid_packages():
    """Make `import` fail as it does on a server without these packages."""
    for package in FORBIDDEN_PACKAGES:
        sys.modules[package] = None  # type: ignore[assignment]


if __name__ == "__main__":
    _forbid_packages()
    job_file = pathlib.Path(sys.argv[1])
    result = run_saved_model(json.loads(job_file.read_text()))
    job_file.with_name("report.json").write_text(json.dumps(result))
