"""Compare what a file answers with what its model answers."""

import json

import numpy as np

from keras_moe.export.child_process import run_child_process
from keras_moe.export.formats import child
from keras_moe.export.inference_function import make_inference_function

# float32 rounds at 6e-8, and a sum of n products at up to n times that: 1e-4
# leaves room for sums of 1000. Half precision rounds at 4e-3 (bfloat16).
TOLERANCES = {"float32": 1e-4, "float64": 1e-4}
OF_HALF_PRECISION = 0.05


def check_file(model, chosen, path, samples, tolerance, folder, verbose):
    """Run a file in a process without training software, and compare.

    Args:
        model: the `keras.Model` that the file was made of.
        chosen: the `Format` of the file.
        path: `pathlib.Path` of the file.
        samples: list of dicts from input name to array.
        tolerance: float, the largest difference, relative to the largest
            number of the output or to 1; `None` goes by the model's dtype.
        folder: `pathlib.Path` of a scratch folder.
        verbose: bool, whether to show progress.

    Returns:
        A float, the largest absolute difference.

    Raises:
        RuntimeError: if the file cannot be run, or answers otherwise.
    """
    if tolerance is None:
        dtype = model.dtype_policy.compute_dtype
        tolerance = TOLERANCES.get(dtype, OF_HALF_PRECISION)
    answers = _run(chosen, path, samples, folder, verbose)
    run_model = make_inference_function(model)
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
            difference, scale = _compare(array, expected[name])
            if not difference <= tolerance * scale:
                raise RuntimeError(
                    f"Expected {path.name} to answer as the model does. "
                    f"Received: an output {name!r} that differs by "
                    f"{difference:.2g}, where the largest number is "
                    f"{scale:.2g}, for inputs of shapes {shapes}. Nothing "
                    f"was published; tolerance={tolerance:g} was allowed."
                )
            largest = max(largest, difference)
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


def _compare(answer, expected):
    """Return the largest difference, and the largest number but 1 at least."""
    if answer.shape != expected.shape:
        return np.inf, 1.0
    if answer.size == 0:
        return 0.0, 1.0
    answer, expected = answer.astype("float64"), expected.astype("float64")
    same = (answer == expected) | (np.isnan(answer) & np.isnan(expected))
    with np.errstate(invalid="ignore"):
        difference = np.where(same, 0.0, np.abs(answer - expected))
    finite = np.abs(expected[np.isfinite(expected)])
    return (
        float(np.nan_to_num(difference, nan=np.inf, posinf=np.inf).max()),
        max(1.0, float(finite.max(initial=0.0))),
    )
