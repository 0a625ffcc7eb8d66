"""Compare what a file answers with what its model answers."""

import json

import numpy as np

from keras_moe.export.child_process import run_child_process
from keras_moe.export.differences import largest_difference
from keras_moe.export.formats import child
from keras_moe.export.inference_function import make_inference_function
from keras_moe.export.judgement import describe_difference
from keras_moe.export.precision import is_exact


def check_file(model, chosen, path, samples, folder, verbose):
    """Run a file in a process without training software, and compare.

    Args:
        model: the `keras.Model` that the file was made of.
        chosen: the `Format` of the file.
        path: `pathlib.Path` of the file.
        samples: list of dicts from input name to array.
        folder: `pathlib.Path` of a scratch folder.
        verbose: bool, whether to show progress.

    Returns:
        A float, the largest absolute difference.

    Raises:
        RuntimeError: if the file cannot be run, or answers otherwise.
    """
    answers = _run(chosen, path, samples, folder, verbose)
    run_model = make_inference_function(model)
    exact = is_exact(model)
    largest = 0.0
    for sample, outputs in zip(samples, answers, strict=True):
        shapes = {name: array.shape for name, array in sample.items()}
        expected = run_model(sample)
        if sorted(expected) != sorted(outputs):
            raise RuntimeError(
                f"Expected {path.name} to give {sorted(expected)}, as the "
                f"model does. Received: {sorted(outputs)}."
            )
        for name, array in outputs.items():
            cause = _describe(array, expected[name], exact)
            if cause is not None:
                raise RuntimeError(
                    f"Expected {path.name} to answer as the model does. "
                    f"Received: an output {name!r} that {cause}, for inputs "
                    f"of shapes {shapes}. Nothing was published. Look for "
                    "operations that depend on the backend or on random "
                    "numbers."
                )
            largest = max(largest, largest_difference(array, expected[name]))
    return largest


def _run(chosen, path, samples, folder, verbose):
    """Run a file on samples in a process of its own."""
    stored = {
        f"{number}/{name}": array
        for number, sample in enumerate(samples)
        for name, array in sample.items()
    }
    np.savez(folder / "samples.npz", **stored)
    job = {
        "code": str(chosen.code),
        "forbidden": chosen.forbidden,
        "run": str(path),
        "samples": str(folder / "samples.npz"),
        "results": str(folder / "results.npz"),
    }
    (folder / "run.json").write_text(json.dumps(job))
    run_child_process(
        [child.__file__, str(folder / "run.json")],
        f"Checking {path.name}",
        backend=chosen.backend,
        verbose=verbose,
    )
    return child.read_batches(job["results"])


def _describe(answer, expected, exact):
    """Say how an answer differs, `None` if rounding explains it."""
    if answer.shape != expected.shape:
        return f"has the shape {answer.shape}, not {expected.shape}"
    return describe_difference(answer, expected, exact)
