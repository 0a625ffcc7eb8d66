"""The state of a training run: written whole, read back exactly.

On one device it is one file of NumPy's. A run that was started on a mesh is
saved by Orbax in a folder, where no device needs to hold all of it.
"""

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
        path: what to write, whole or not at all: a file, `*.npz`, or a folder
            of steps for Orbax.
        model: compiled model whose optimizer is built.
        record: dict that JSON can hold.
    """
    from keras import ops

    from keras_moe.callbacks.training_variables import training_variables

    if path.suffix != ".npz":
        with _saved_steps(path) as saved:
            saved.save(record["step"], model, record)
        return
    arrays = {"record": np.array(json.dumps(record))}
    for name, variable in training_variables(model).items():
        arrays[name] = np.asarray(ops.convert_to_numpy(variable))
    with written_whole(path) as temporary:
        np.savez(temporary, **arrays)  # type: ignore[arg-type]


def read_record(path):
    """Read the record of a checkpoint, without the variables.

    Args:
        path: what `write_checkpoint` wrote.

    Returns:
        dict.

    Raises:
        ValueError: If it is something else.
    """
    if path.suffix != ".npz":
        with _saved_steps(path, read_only=True) as saved:
            return saved.read_record()
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
        path: what `write_checkpoint` wrote.
        model: model of the same settings, compiled, its optimizer built.

    Raises:
        ValueError: If the variables are not those of the checkpoint.
    """
    from keras_moe.callbacks.training_variables import check_variables
    from keras_moe.callbacks.training_variables import training_variables

    if path.suffix != ".npz":
        with _saved_steps(path, read_only=True) as saved:
            saved.restore(model)
        return
    variables = training_variables(model)
    with np.load(path) as stored:
        arrays = {n: stored[n] for n in stored.files if n != "record"}
    shapes = {name: array.shape for name, array in arrays.items()}
    check_variables(variables, shapes, path)
    for name, variable in variables.items():
        variable.assign(arrays[name])


def _saved_steps(path, read_only=False):
    from keras_moe.callbacks.saved_steps import SavedSteps

    return SavedSteps(path, max_to_keep=2, read_only=read_only)
