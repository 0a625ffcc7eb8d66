"""The child process that writes or runs a file of one format.

Run as `python child.py <job.json>`. It must be run by its path: as a module of
the package it would import Keras, which it may forbid.
"""

import importlib.util
import json
import pathlib
import sys

import numpy as np

# The pattern of the other child processes, which this file cannot import.
STAGE_PREFIX = "stage: "


def do(job):
    """Write a file, or run one on samples.

    Args:
        job: dict with `code`, the file of the format; `forbidden`, the names
            of packages that must not be imported; and either `write`, the
            arguments of its `write`, or `run`, the file to run, with
            `samples` and `results`, two `.npz` files.
    """
    for package in job["forbidden"]:
        sys.modules[package] = None  # type: ignore[assignment]
    code = load_by_path(job["code"])
    if "write" in job:
        print(f"{STAGE_PREFIX}converting the model", flush=True)
        code.write(**job["write"])
        return
    print(f"{STAGE_PREFIX}loading the file", flush=True)
    run = code.open_model(job["run"])
    print(f"{STAGE_PREFIX}running samples", flush=True)
    results = {}
    for number, sample in enumerate(read_batches(job["samples"])):
        for name, array in run(sample).items():
            results[f"{number}/{name}"] = array
    np.savez(job["results"], **results)


def load_by_path(path):
    """Import a file by its path.

    Args:
        path: string.

    Returns:
        The module.
    """
    spec = importlib.util.spec_from_file_location("keras_moe_format", path)
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    return module


def read_batches(file):
    """Read batches that were stored as `<number>/<name>`, in order.

    Args:
        file: string, an `.npz` file.

    Returns:
        A list of dicts from name to array.
    """
    batches: dict[int, dict] = {}
    with np.load(file) as stored:
        for key in stored.files:
            number, name = key.split("/", maxsplit=1)
            batches.setdefault(int(number), {})[name] = stored[key]
    return [batches[number] for number in sorted(batches)]


if __name__ == "__main__":
    do(json.loads(pathlib.Path(sys.argv[1]).read_text()))
