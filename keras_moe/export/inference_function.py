"""Run a model in this process the way an export of it answers requests."""

import contextlib

import keras

from keras_moe.export.endpoints import find_function
from keras_moe.export.model_inputs import pack_model_inputs
from keras_moe.export.model_outputs import name_outputs
from keras_moe.export.signatures.compiled import compiled


def make_inference_function(model):
    """Make a function that runs a model with `training=False`.

    On JAX it is compiled once for each shape, as in `predict`: without, every
    single operation would be compiled for itself, which takes longer.

    Args:
        model: a built `keras.Model`.

    Returns:
        A function from a dict of arrays, by input name, to a dict of NumPy
        arrays, by output name.
    """
    call = {"jax": _compile_on_jax}.get(keras.backend.backend(), _leave_eager)(
        model
    )

    def run(arrays):
        packed = pack_model_inputs(model, arrays)
        packed = keras.tree.map_structure(keras.ops.convert_to_tensor, packed)
        with _no_gradients():
            return _to_arrays(call(packed))

    return run


def make_endpoint_function(model, endpoint):
    """Make a function that answers as one endpoint of a model does.

    It runs eagerly, but on JAX, where it is compiled unless it takes text or
    looks at the values of its inputs.

    Args:
        model: a built `keras.Model`.
        endpoint: a `keras_moe.export.endpoints.Endpoint`.

    Returns:
        A function like that of `make_inference_function`.
    """
    answer = find_function(model, endpoint)
    of_model = compiled(lambda model, tensors: answer(tensors))

    def run(arrays):
        # Text is an array of bytes wherever there are no tensors of it.
        is_text = {name: x.dtype.kind == "S" for name, x in arrays.items()}
        tensors = {
            name: x if is_text[name] else keras.ops.convert_to_tensor(x)
            for name, x in arrays.items()
        }
        with _no_gradients():
            if any(is_text.values()):
                return _to_arrays(answer(tensors))
            return _to_arrays(of_model(model, tensors))

    return run


def _to_arrays(outputs):
    arrays = {
        name: keras.ops.convert_to_numpy(tensor)
        for name, tensor in name_outputs(outputs).items()
    }
    return {
        # Text comes as objects.
        name: array.astype("S") if array.dtype == object else array
        for name, array in arrays.items()
    }


def _compile_on_jax(model):
    """Compile the model's call for JAX."""
    import jax

    @jax.jit
    def call(trainable, non_trainable, inputs):
        outputs, _ = model.stateless_call(
            trainable, non_trainable, inputs, training=False
        )
        return outputs

    return lambda inputs: call(
        [v.value for v in model.trainable_variables],
        [v.value for v in model.non_trainable_variables],
        inputs,
    )


def _no_gradients():
    """Keep PyTorch from remembering calls for a backward pass."""
    if keras.backend.backend() != "torch":
        return contextlib.nullcontext()
    import torch

    return torch.no_grad()


def _leave_eager(model):
    """Call the model as it is."""
    return lambda inputs: model(inputs, training=False)
