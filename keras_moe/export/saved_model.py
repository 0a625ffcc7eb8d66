"""Export a Keras model of any backend as a TensorFlow SavedModel."""

import json
import pathlib

from keras_moe.export.child_process import run_tensorflow_process
from keras_moe.export.description import describe_model
from keras_moe.export.description import write_description
from keras_moe.export.endpoints import describe_endpoints
from keras_moe.export.endpoints import describe_signatures
from keras_moe.export.model_inputs import describe_model_inputs
from keras_moe.export.quantized_experts import check_weights
from keras_moe.export.sample_bounds import find_integer_bound
from keras_moe.export.stored_model import store_model
from keras_moe.export.tokenizer_assets import write_tokenizer
from keras_moe.export.verification import compare
from keras_moe.export.version_folder import clean_up
from keras_moe.export.version_folder import plan_version_folder
from keras_moe.export.version_folder import staged_folder


def export_saved_model(
    model,
    path,
    *,
    version=1,
    input_signature=None,
    signatures="all",
    endpoints=None,
    weights=None,
    warmup=True,
    verify=True,
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
    floating point output as float32. Language models answer more signatures,
    `generate` among them.

    Before the folder appears, a process without Keras loads it, and its
    answers are compared with the model's. If they differ by more than
    rounding explains, nothing appears, and an older version stays.

    Args:
        model: a built `keras.Model`: functional, Sequential, or subclassed
            with a `call` that takes one tensor or one dict of tensors.
        path: string or `pathlib.Path`, the folder of all versions.
        version: int, the version to write. TensorFlow Serving loads the
            highest.
        input_signature: dict from input name to `keras.InputSpec`, to fix
            sizes that the model leaves open. Subclassed models need it, as
            they do not record dtypes.
        signatures: `"all"` of the package's own that the model can answer, or
            a sequence of their names; `()` for `serving_default` alone.
        endpoints: dict from name to a pair of function and signature, which
            become further signatures. The function is the name of a method of
            the model, which gets the inputs by keyword, or a function at the
            top level of a module, which gets the model and a dict of tensors,
            and returns a dict of tensors. The signature is a dict from input
            name to `keras.InputSpec` with a dtype. Floating point outputs
            become float32. A third element, a dict from input name to value,
            makes inputs optional. An endpoint takes the place of a signature
            of its name.
        weights: `None`, or `"int8"` to round the kernels of the experts to 8
            bits in the file, a scale for each output. The model itself stays
            as it is.
        warmup: bool, whether to add a request to each signature, which
            TensorFlow Serving runs before the version takes others.
        verify: bool, whether to compare the answers before the folder appears.
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
            taken or its function not found by another process, or the model
            lacks a signature or experts to round.
        ImportError: if TensorFlow is not installed.
        RuntimeError: if a child process fails, with its last lines, or the
            answers differ.

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
    >>> path = export_saved_model(
    ...     model, "exported/tiny", verify=False, verbose=False
    ... )
    >>> path.as_posix()
    'exported/tiny/1'
    >>> result = keras_moe.export.verify_saved_model(model, path, verbose=False)
    >>> result.largest_difference < 1e-4
    True
    """
    inputs = describe_model_inputs(model, input_signature)
    given = describe_endpoints(model, endpoints)
    names = {x.name for x in given}
    own = describe_signatures(model, signatures)
    further = (*(x for x in own if x.name not in names), *given)
    check_weights(model, weights)
    clean_up(path)
    target = plan_version_folder(path, version, overwrite)
    with staged_folder(target, overwrite) as staging:
        folder = staging / "saved_model"
        stored = store_model(model, staging, modules)
        job = {
            **stored,
            "folder": str(folder),
            "inputs": inputs,
            "endpoints": further,
            "weights": weights,
            "warm_up": warmup,
            "integer_bound": find_integer_bound(model),
        }
        job_file = staging / "job.json"
        job_file.write_text(json.dumps(job))
        arguments = ["-m", "keras_moe.export.saved_model_writer", str(job_file)]
        seconds = run_tensorflow_process(
            arguments, f"Exporting to {target}", verbose=verbose
        )
        pathlib.Path(stored["model"]).unlink(missing_ok=True)
        tokenizer = write_tokenizer(model, folder / "assets.extra")
        description = {
            **describe_model(model, tokenizer, further, weights),
            "endpoints": sorted(names),
            "size_bytes": _size(folder),
        }
        if verify:
            description |= _verify(
                model,
                folder,
                further,
                weights=weights,
                task=f"Verifying {target}",
                verbose=verbose,
            )
        write_description(folder, description)
    # Again: what a killed export had started may have gone on until now.
    clean_up(path)
    if verbose:
        print(_report(target, description, seconds))
    return target


def _verify(model, folder, endpoints, **options):
    """Return what a comparison finds, if it is well."""
    result = compare(model, folder, endpoints, **options)
    missing = {x.name for x in endpoints} - {*result.signatures}
    problems = [*result.problems, *(f"{x} is missing" for x in missing)]
    if problems:
        raise RuntimeError(
            "Expected the SavedModel to answer as the model does. Received: "
            f"{'; '.join(problems)}. The version is not published. Look for "
            "operations that depend on the backend or on random numbers, or "
            "pass verify=False to look into the files."
        )
    return {
        "largest_difference": result.largest_difference,
        "divergence": result.divergence,
    }


def _report(target, description, seconds):
    """Say what was written, in one line for each thing."""
    size = description["size_bytes"] / 1e6
    lines = [f"Exported {target} ({size:.1f} MB, {seconds:.0f} s)"]
    if "largest_difference" in description:
        difference = description["largest_difference"]
        line = f"Verified without Keras: largest difference {difference:.1e}"
        divergence = description["divergence"]
        if description["weights"] == "int8" and divergence is not None:
            line += f", mean divergence {divergence:.1e} nats"
        lines.append(line)
    return "\n".join(lines)


def _size(folder):
    """Return the size of all files in a folder, in bytes."""
    files = (x for x in pathlib.Path(folder).rglob("*") if x.is_file())
    return sum(x.stat().st_size for x in files)
