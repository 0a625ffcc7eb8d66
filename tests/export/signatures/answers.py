"""What the tests of all signatures share: models, requests, live answers."""

import contextlib
import functools

import keras
import numpy as np
from keras import ops

from keras_moe.export.signatures import signatures_of
from tests.models.test_cached_decoder import make_model as make_model

LENGTHS = np.array([4, 6, 1, 5, 3])
LENGTH = 6


def make_tokens(model, lengths=LENGTHS, length=LENGTH):
    """Rows of different lengths, and what an encoder reads."""
    rng = np.random.default_rng(5)
    mask = np.arange(length) < lengths[:, None]
    size = model.backbone.vocabulary_size
    token_ids = np.where(mask, rng.integers(1, size, mask.shape), 0)
    prefix = getattr(model, "prompt_prefix", "")
    inputs = {
        f"{prefix}token_ids": token_ids.astype("int32"),
        f"{prefix}padding_mask": mask.astype("int32"),
    }
    if prefix:
        context = rng.integers(1, size, (len(lengths), 4))
        inputs["encoder_token_ids"] = context.astype("int32")
        inputs["encoder_padding_mask"] = np.tri(len(lengths), 4, 1, "int32")
    return inputs


def answer(model, name, arrays):
    """Answer a request in this process; arrays in and out."""
    signature = signatures_of(model)[name]
    call = functools.partial(signature, model, arrays)
    # One program on JAX, where each operation would be compiled by itself.
    if keras.backend.backend() == "jax" and name != "generate_text":
        import jax

        call = jax.jit(call)
    with without_gradients():
        return {key: to_numpy(each) for key, each in call().items()}


def answer_traced(model, name):
    """Return what a SavedModel of TensorFlow does: a graph of open shapes."""
    import tensorflow as tf

    signature = signatures_of(model)[name]
    specs = {
        each.name: tf.TensorSpec(each.shape, each.dtype)
        for each in signature.inputs
    }
    graph = tf.function(
        lambda tensors: signature.function(model, tensors),
        input_signature=[specs],
    )

    def call(arrays):
        filled = {
            each.name: tf.constant(
                arrays.get(each.name, each.default), each.dtype
            )
            for each in signature.inputs
        }
        return {key: to_numpy(each) for key, each in graph(filled).items()}

    return call


def without_gradients():
    if keras.backend.backend() == "torch":
        import torch

        return torch.no_grad()
    return contextlib.nullcontext()


def to_numpy(value):
    if isinstance(value, np.ndarray):  # Text, but for TensorFlow's.
        return value
    return ops.convert_to_numpy(value)


def rows_of(arrays, rows):
    """Pick rows of a request."""
    return {name: each[rows] for name, each in arrays.items()}
