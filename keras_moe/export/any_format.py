"""Export a Keras model of any backend to a file of any format."""

import json

from keras_moe.export.child_process import run_child_process
from keras_moe.export.formats import child
from keras_moe.export.formats.check_file import check_file
from keras_moe.export.formats.refusals import find_format
from keras_moe.export.formats.refusals import refuse_models
from keras_moe.export.formats.samples import draw_samples
from keras_moe.export.formats.saved_model_folder import write_saved_model_folder
from keras_moe.export.formats.staging import check_path
from keras_moe.export.formats.staging import staged_file
from keras_moe.export.model_inputs import describe_model_inputs
from keras_moe.export.sample_bounds import find_integer_bound
from keras_moe.export.saved_model import export_saved_model
from keras_moe.export.stored_model import store_model


def export_model(
    model,
    path,
    format="tf_saved_model",
    *,
    input_signature=None,
    modules=None,
    batch_shapes=((1, 4), (3, 7)),
    seed=0,
    verbose=True,
    **options,
):
    """Write a model of any backend to a file, and check the file.

    A child process with the backend that the format needs writes the file.
    Another one, with the format's own runtime and without Keras, runs it on
    random batches. If the answers are the model's up to rounding, as
    `export_saved_model` judges it, the file appears under its name; if not, an
    older file stays there.

    The file takes the model's inputs by name and leaves open the batch size
    and every size that is `None` in the model. It runs the model with
    `training=False`; floating point outputs are float32.

    | format | file | written and run by |
    |---|---|---|
    | `"tf_saved_model"` | a folder | TensorFlow, by `export_saved_model` |
    | `"onnx"` | `.onnx` | tf2onnx, onnxruntime |
    | `"openvino"` | `.xml`, `.bin` | openvino |
    | `"litert"` | `.tflite` | TensorFlow |
    | `"torch"` | `.pt2` | PyTorch |

    Args:
        model: a built `keras.Model`, as for `export_saved_model`.
        path: string or `pathlib.Path`. Under `"tf_saved_model"` the folder of
            the SavedModel itself, not that of its versions.
        format: string, one of the table.
        input_signature: as for `export_saved_model`.
        modules: as for `export_saved_model`.
        batch_shapes: tuple of tuples of ints, one for each batch to check
            with: the values for the open sizes of every input, first to last.
        seed: int, for the batches.
        verbose: bool, whether to show progress.
        **options: `opset_version` of `"onnx"`; under `"tf_saved_model"` any
            of `export_saved_model`, which checks the folder in its own way.

    Returns:
        A `pathlib.Path`.

    Raises:
        ValueError: if the format is unknown, cannot hold this model or has
            no such option, or the path does not fit it; otherwise as
            `export_saved_model`.
        ImportError: if a package that the format needs is not installed.
        RuntimeError: if a child process fails, with its last lines, or the
            file answers otherwise than the model.

    Example:

    >>> import keras
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    >>> path = export_model(
    ...     model, "dense.tflite", "litert", batch_shapes=((2,),), verbose=False
    ... )
    >>> path.name
    'dense.tflite'
    """
    if format == "tf_saved_model":
        return write_saved_model_folder(
            model,
            path,
            input_signature=input_signature,
            modules=modules,
            verbose=verbose,
            **options,
        )
    chosen = find_format(format, options)
    path = check_path(path, chosen.suffix)
    inputs = describe_model_inputs(model, input_signature)
    refuse_models(model, format)
    samples = draw_samples(
        inputs, batch_shapes, find_integer_bound(model), seed
    )
    with staged_file(path) as (file, scratch):
        arguments = {"path": str(file), **options}
        if chosen.backend == "tensorflow":
            arguments["saved_model"] = str(
                export_saved_model(
                    model,
                    scratch / "saved_model",
                    input_signature=input_signature,
                    signatures=(),
                    warmup=False,
                    verify=False,
                    modules=modules,
                    verbose=False,
                )
            )
        else:
            arguments["stored"] = store_model(model, scratch, modules)
            arguments["inputs"] = inputs
        job = {"code": str(chosen.code), "forbidden": [], "write": arguments}
        (scratch / "write.json").write_text(json.dumps(job))
        run_child_process(
            [child.__file__, str(scratch / "write.json")],
            f"Exporting to {path}",
            backend=chosen.backend,
            verbose=verbose,
        )
        difference = check_file(model, chosen, file, samples, scratch, verbose)
        size = sum(x.stat().st_size for x in file.parent.iterdir()) / 1e6
    if verbose:
        print(
            f"Exported {path} ({size:.1f} MB, largest difference "
            f"{difference:.1e})"
        )
    return path
