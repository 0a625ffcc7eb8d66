"""The child process of `verify_saved_model`: TensorFlow and nothing else.

Run as `python saved_model_runner.py <job.json>`. It must be run by its path:
as a module of the package it would import Keras, which it forbids.
"""

import json
import pathlib
import sys

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


def run_saved_model(job):
    """Run a SavedModel on samples and write down what it takes and gives.

    Args:
        job: dict, as `verify_saved_model` writes it.

    Returns:
        A dict with the names of the inputs and outputs, the number of
        samples run, or the `error` that kept them from running.
    """
    import tensorflow as tf

    _say("loading the SavedModel")
    loaded = tf.saved_model.load(job["saved_model"])
    if "serving_default" not in loaded.signatures:
        return {
            "error": "Expected a SavedModel with the signature "
            f"'serving_default'. Received: {list(loaded.signatures)}. "
            "Export the model with keras_moe.export.export_saved_model."
        }
    serve = loaded.signatures["serving_default"]
    specs = serve.structured_input_signature[1]
    report = {
        "inputs": sorted(specs),
        "outputs": sorted(serve.structured_outputs),
    }
    try:
        samples = read_samples(job, specs) or draw_samples(job, specs)
    except ValueError as error:
        return {**report, "error": str(error)}
    arrays = {}
    for number, sample in enumerate(samples):
        _say(f"running sample {number + 1} of {len(samples)}")
        outputs = serve(
            **{
                name: tf.constant(sample[name], specs[name].dtype)
                for name in specs
            }
        )
        for name, array in sample.items():
            arrays[f"{number}/input/{name}"] = array
        for name, tensor in outputs.items():
            arrays[f"{number}/output/{name}"] = tensor.numpy()
    np.savez(job["results"], **arrays)
    return {**report, "samples": len(samples)}


def draw_input(name, shape, dtype, integer_bound, generator):
    """Draw one random input.

    Args:
        name: string; a name that ends in `mask` asks for a padding mask, with
            1 for the real tokens at the beginning of each row.
        shape: tuple of ints.
        dtype: a NumPy dtype.
        integer_bound: int, the number that integers stay below.
        generator: a `numpy.random.Generator`.

    Returns:
        An array.
    """
    if name.endswith("mask") and len(shape) > 1:
        # Longer and shorter rows, the first one full, none of them empty.
        lengths = generator.integers(1, shape[-1] + 1, size=shape[:-1])
        lengths.flat[0] = shape[-1]
        return (np.arange(shape[-1]) < lengths[..., None]).astype(dtype)
    if np.issubdtype(dtype, np.bool_):
        return generator.integers(0, 2, size=shape).astype(dtype)
    if np.issubdtype(dtype, np.integer):
        return generator.integers(0, integer_bound, size=shape).astype(dtype)
    if np.issubdtype(dtype, np.floating):
        return generator.standard_normal(shape).astype(dtype)
    raise ValueError(
        f"Expected an input of numbers to draw samples for {name!r}. "
        f"Received: dtype={dtype}. Pass samples."
    )


def draw_samples(job, specs):
    """Draw one sample for each tuple of sizes in a job.

    Args:
        job: dict with `seed`, `batch_shapes` and `integer_bound`.
        specs: dict from input name to `tf.TensorSpec`.

    Returns:
        A list of dicts from input name to array.

    Raises:
        ValueError: if a tuple is too short for an input.
    """
    generator = np.random.default_rng(job["seed"])
    return [
        {
            name: draw_input(
                name,
                _fill_shape(name, specs[name].shape.as_list(), sizes),
                np.dtype(specs[name].dtype.as_numpy_dtype),
                job["integer_bound"],
                generator,
            )
            for name in sorted(specs)
        }
        for sizes in job["batch_shapes"]
    ]


def _fill_shape(name, shape, sizes):
    """Replace the open sizes of a shape, first to last."""
    remaining = iter(sizes)
    filled = [next(remaining, None) if x is None else x for x in shape]
    if None in filled:
        raise ValueError(
            "Expected every tuple in batch_shapes to have a size for each "
            f"open size of an input. Received: {tuple(sizes)} for {name!r} of "
            f"shape {tuple(shape)}. Add the missing sizes."
        )
    return tuple(filled)


def read_samples(job, specs):
    """Read the samples that the caller gave.

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
