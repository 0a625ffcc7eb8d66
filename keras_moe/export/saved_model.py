"""Export a Keras model of any backend as a TensorFlow SavedModel."""

import json
import pathlib

import keras

from keras_moe.export.child_process import run_tensorflow_process
from keras_moe.export.custom_objects import find_custom_objects
from keras_moe.export.endpoints import describe_endpoints
from keras_moe.export.model_inputs import describe_model_inputs
from keras_moe.export.version_folder import clean_up
from keras_moe.export.version_folder import plan_version_folder
from keras_moe.export.version_folder import staged_folder


def export_saved_model(
    model,
    path,
    *,
    version=1,
    input_signature=None,
    endpoints=None,
    modules=None,
    overwrite=False,
    verbose=True,
):
    """Write a model of any backend as a SavedModel for TensorFlow Serving.

    The model is saved as a `.keras` file, and a child process whose Keras
    runs on TensorFlow loads that file and writes `path/<version>/`. So the
    result holds plain TensorFlow operations whichever backend trained the
    model: no XLA, no compilation for each new shape.

    The signature `serving_default` takes the model's inputs by name, with
    their dtypes, and leaves open the batch size and every size that is `None`
    in the model. It runs the model with `training=False` and returns every
    floating point output as float32. The folder appears only when complete.

    Args:
        model: a built `keras.Model`: functional, Sequential, or subclassed
            with a `call` that takes one tensor or one dict of tensors.
        path: string or `pathlib.Path`, the folder of all versions.
        version: int, the version to write. TensorFlow Serving loads the
            highest.
        input_signature: dict from input name to `keras.InputSpec`, to fix
            sizes that the model leaves open. Subclassed models need it, as
            they do not record dtypes.
        endpoints: dict from name to a pair of function and signature, which
            become signatures beside `serving_default`. The function is the
            name of a method of the model, which gets the inputs by keyword,
            or a function at the top level of a module, which gets the model
            and a dict of tensors, and returns a dict of tensors. The
            signature is a dict from input name to `keras.InputSpec` with a
            dtype. Floating point outputs become float32.
        modules: list of strings, further modules for the child to import.
            Those that define the model's own classes are found without it.
        overwrite: bool, whether to replace an existing version.
        verbose: bool, whether to show progress.

    Returns:
        A `pathlib.Path`, the folder of the version.

    Raises:
        ValueError: if the model is not built, the signature does not fit it,
            the version exists already, the path cannot be written, a custom
            class is defined in the running script, or an endpoint's name is
            taken or its function not found by another process.
        ImportError: if TensorFlow is not installed.
        RuntimeError: if the child process fails, with its last lines.

    Example:

    >>> import keras
    >>> import keras_moe
    >>> model = keras.Sequential(
    ...     [
    ...         keras.Input((None,), dtype="int32", name="token_ids"),
    ...         keras.layers.Embedding(100, 16),
    ...         keras_moe.layers.SparseMoE(num_experts=4, intermediate_dim=8),
    ...         keras.layers.Dense(100),
    ...     ]
    ... )
    >>> path = export_saved_model(model, "exported/tiny", verbose=False)
    >>> path.as_posix()
    'exported/tiny/1'
    >>> result = keras_moe.export.verify_saved_model(model, path, verbose=False)
    >>> result.largest_difference < 1e-4
    True
    """
    inputs = describe_model_inputs(model, input_signature)
    further = describe_endpoints(model, endpoints)
    clean_up(path)
    target = plan_version_folder(path, version, overwrite)
    with staged_folder(target, overwrite) as staging:
        model_file = staging / "model.keras"
        model.save(model_file)
        job = {
            "model": str(model_file),
            "folder": str(staging / "saved_model"),
            "inputs": inputs,
            "endpoints": further,
            "modules": list(modules or ()),
            "custom_objects": [
                list(x) for x in find_custom_objects(model_file)
            ],
            "settings": _global_settings(),
        }
        job_file = staging / "job.json"
        job_file.write_text(json.dumps(job))
        arguments = ["-m", "keras_moe.export.saved_model_writer", str(job_file)]
        seconds = run_tensorflow_process(
            arguments, f"Exporting to {target}", verbose=verbose
        )
    # Again: what a killed export had started may have gone on until now.
    clean_up(path)
    if verbose:
        print(
            f"Exported {target} ({_megabytes(target):.1f} MB, {seconds:.0f} s)"
        )
    return target


def _global_settings():
    """Return the settings that layers read when they are built anew."""
    policy = keras.config.dtype_policy()
    return {
        "floatx": keras.config.floatx(),
        "epsilon": keras.config.epsilon(),
        "image_data_format": keras.config.image_data_format(),
        "dtype_policy": keras.dtype_policies.serialize(policy),
    }


def _megabytes(folder):
    """Return the size of all files in a folder, in 10^6 bytes."""
    files = (x for x in pathlib.Path(folder).rglob("*") if x.is_file())
    return sum(x.stat().st_size for x in files) / 1e6
