"""The child process of `export_saved_model`: from `.keras` to SavedModel.

Run as `python -m keras_moe.export.saved_model_writer <job.json>` with
KERAS_BACKEND=tensorflow.
"""

import json
import pathlib
import sys

import keras

from keras_moe.export.child_process import STAGE_PREFIX
from keras_moe.export.endpoints import Endpoint
from keras_moe.export.endpoints import find_function
from keras_moe.export.model_inputs import ModelInput
from keras_moe.export.model_inputs import pack_model_inputs
from keras_moe.export.model_outputs import name_outputs
from keras_moe.export.optional_inputs import by_name
from keras_moe.export.quantized_experts import quantize_experts
from keras_moe.export.stored_model import load_stored_model
from keras_moe.export.warm_up import write_warm_up
from keras_moe.ops.all_layers import all_layers

SIGNATURES = "keras_moe.export.signatures."


def write_saved_model(job):
    """Load the model that a job names and write its SavedModel.

    Args:
        job: dict, as `export_saved_model` writes it.
    """
    _say("loading the model")
    model = load_stored_model(job)
    if job["weights"] == "int8":
        _say("rounding the experts")
        quantize_experts(model)
    _say("tracing and writing the model")
    inputs = [ModelInput(*x) for x in job["inputs"]]
    archive = keras.export.ExportArchive()
    track_tables(archive, model)
    # Keras' own name, which TFSMLayer expects; `serving_default` is added as
    # its alias.
    archive.add_endpoint("serve", make_endpoint(model), _signature(inputs))
    archive.add_variable_collection(
        "model_variables", [x.value for x in model.variables]
    )
    taken = {"serving_default": inputs}
    for each in job["endpoints"]:
        endpoint = Endpoint(*each)
        _say(f"tracing {endpoint.name}")
        inputs = [ModelInput(*x) for x in endpoint.inputs]
        function = make_endpoint(model, find_function(model, endpoint))
        signature = _signature(inputs)
        if any(x.default is not None for x in inputs):
            function, ordered = by_name(function, inputs)
            signature = [_spec(x) for x in ordered]
        added = archive.add_endpoint(endpoint.name, function, signature)
        if (endpoint.module or "").startswith(SIGNATURES):
            # Keras looks here, or traces the function once more, to find its
            # variables. Ours have none but the model's.
            added.concrete_functions = ()
        taken[endpoint.name] = inputs
    _write_out(archive, job["folder"])
    if job["warm_up"]:
        write_warm_up(job["folder"], taken, job["integer_bound"])


def make_endpoint(model, answer=None):
    """Make the function that answers a request.

    Args:
        model: a built `keras.Model`.
        answer: optional function from a dict of tensors to tensors; `None`
            means the model itself, with `training=False`.

    Returns:
        A function from a dict of tensors to a dict of tensors, in which every
        floating point tensor is float32.
    """

    def call_model(tensors):
        return model(pack_model_inputs(model, tensors), training=False)

    def serve(tensors):
        outputs = name_outputs((answer or call_model)(tensors))
        return {name: _to_float32(x) for name, x in outputs.items()}

    return serve


def _write_out(archive, folder):
    """Write a SavedModel without the gradients, which nobody serves."""
    import tensorflow as tf

    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    archive.write_out(folder, options=options, verbose=False)


def _signature(inputs):
    """Return what Keras takes for one dict of inputs."""
    return [{x.name: _spec(x) for x in inputs}]


def _spec(described):
    return keras.InputSpec(
        shape=described.shape, dtype=described.dtype, name=described.name
    )


def track_tables(archive, model):
    """Let the archive find the lookup tables of the model.

    It finds the variables by itself. Tracking the whole model would trace it
    twice more, which is most of the time that a deep model takes.

    Args:
        archive: a `keras.export.ExportArchive`.
        model: a built `keras.Model`.
    """
    for layer in all_layers(model):
        if isinstance(
            layer,
            (
                keras.layers.IntegerLookup,
                keras.layers.StringLookup,
                keras.layers.TextVectorization,
            ),
        ):
            archive.track(layer)


def _to_float32(tensor):
    """Cast a floating point tensor to float32 and leave others alone."""
    if keras.backend.is_float_dtype(
        keras.backend.standardize_dtype(tensor.dtype)
    ):
        return keras.ops.cast(tensor, "float32")
    return tensor


def _say(stage):
    """Tell the parent process what is being done."""
    print(f"{STAGE_PREFIX}{stage}", flush=True)


if __name__ == "__main__":
    write_saved_model(json.loads(pathlib.Path(sys.argv[1]).read_text()))
