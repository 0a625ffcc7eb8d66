"""Run a model in this process the way an export of it answers requests."""

import keras

from keras_moe.export.model_inputs import pack_model_inputs
from keras_moe.export.model_outputs import name_outputs


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
    call = {"jax": _compile_on_jax, "torch": _without_gradients}.get(
        keras.backend.backend(), _leave_eager
    )(model)

    def run(arrays):
        packed = pack_model_inputs(model, arrays)
        packed = keras.tree.map_structure(keras.ops.convert_to_tensor, packed)
        outputs = name_outputs(call(packed))
        return {
            name: keras.ops.convert_to_numpy(tensor)
            for name, tensor in outputs.items()
        }

    return run


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


def _without_gradients(model):
    """Keep PyTorch from remembering the call for a backward pass."""
    import torch

    def call(inputs):
        with torch.no_grad():
            return model(inputs, training=False)

    return call


def _leave_eager(model):
    """Call the model as it is."""
    return lambda inputs: model(inputs, training=False)
