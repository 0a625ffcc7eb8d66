"""The state of a training run in one file: written whole, read back exactly."""

import json
import zipfile

import numpy as np

from keras_moe.cli.run_folder import written_whole


def write_checkpoint(path, model, record):
    """Write every variable of a model and its optimizer, and a record.

    They are the weights, the states of the random generators and the sums that
    `RoutingMonitor` has not reported yet. Numbers are stored exactly, so that a
    resumed run computes what a run without a stop computes.

    Args:
        path: file to write, `*.npz`; it appears whole or not at all.
        model: compiled model whose optimizer is built.
        record: dict that JSON can hold.
    """
    from keras import ops

    arrays = {"record": np.array(json.dumps(record))}
    for name, variable in _named_variables(model).items():
        arrays[name] = np.asarray(ops.convert_to_numpy(variable))
    with written_whole(path) as temporary:
        np.savez(temporary, **arrays)  # type: ignore[arg-type]


def read_record(path):
    """Read the record of a checkpoint, without the variables.

    Args:
        path: file that `write_checkpoint` wrote.

    Returns:
        dict.

    Raises:
        ValueError: If the file is something else.
    """
    try:
        # Opened here: NumPy leaves a damaged file open.
        with open(path, "rb") as file, np.load(file) as stored:
            return json.loads(str(stored["record"]))
    except (KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            "Expected a checkpoint of `keras-moe train`. "
            f"Received: {path}, which is something else. Choose another "
            "--run-dir, or start again with --overwrite."
        ) from error


def restore_variables(path, model):
    """Give a model and its optimizer the numbers of a checkpoint.

    Args:
        path: file that `write_checkpoint` wrote.
        model: model of the same settings, compiled, its optimizer built.

    Raises:
        ValueError: If the variables are not those of the checkpoint.
    """
    variables = _named_variables(model)
    with np.load(path) as stored:
        expected = {name: tuple(v.shape) for name, v in variables.items()}
        arrays = {n: stored[n] for n in stored.files if n != "record"}
    received = {name: array.shape for name, array in arrays.items()}
    if expected != received:
        raise ValueError(
            f"Expected a checkpoint of this model's {len(expected)} variables. "
            f"Received: {path} with {len(received)}, or other shapes, from "
            "another version of keras_moe or Keras. Start again with "
            "--overwrite."
        )
    for name, variable in variables.items():
        variable.assign(arrays[name])


def _named_variables(model):
    """Return dict: name -> variable, in an order that the model fixes."""
    from keras_moe.callbacks.sparse_layers import find_sparse_layers

    layers = find_sparse_layers(model).values()
    # Paths need not be unique, positions are.
    return {
        f"{kind}/{position}": variable
        for kind, variables in (
            ("model", model.variables),
            # Not among the model's on PyTorch.
            ("statistics", [v for x in layers for v in x.statistics.state]),
            ("optimizer", model.optimizer.variables),
        )
        for position, variable in enumerate(variables)
    }
