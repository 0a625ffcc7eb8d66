"""One small model and its export, shared by the tests of this folder."""

import fcntl
import importlib
import textwrap

import keras
import numpy as np
import pytest

from keras_moe.export import export_saved_model
from keras_moe.layers import SparseMoE

CUSTOM_LAYERS = '''
import sys

import keras


@keras.saving.register_keras_serializable(package="keras_moe_tests")
class ScaledResidual(keras.layers.Layer):
    """Adds a trained share of a dense layer that the config does not show."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = keras.layers.Dense(8)

    def build(self, input_shape):
        self.dense.build(input_shape)
        self.scale = self.add_weight(shape=(), initializer="ones")

    def call(self, inputs):
        return inputs + self.scale * self.dense(inputs)


class Unregistered(keras.layers.Layer):
    def call(self, inputs):
        return 3.0 * inputs


@keras.saving.register_keras_serializable(package="keras_moe_tests")
class AnotherWhenExported(keras.layers.Layer):
    """Computes something else in the process that writes the SavedModel."""

    def call(self, inputs):
        return inputs + float("saved_model_writer" in sys.argv[0])


@keras.saving.register_keras_serializable(package="keras_moe_tests")
def doubled(inputs):
    return 2.0 * inputs


@keras.saving.register_keras_serializable(package="keras_moe_tests")
class TokenScorer(keras.Model):
    """Subclassed model that takes a dict."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.embedding = keras.layers.Embedding(50, 8)
        self.tripled = Unregistered()
        # This layer takes its dtype from the global policy.
        self.dense = keras.layers.Dense(3, activation=doubled)

    def build(self, input_shape):
        self.embedding.build(input_shape["token_ids"])
        self.dense.build((None, None, 8))

    def call(self, inputs, training=None):
        x = self.tripled(self.embedding(inputs["token_ids"]))
        x = self.dense(x)
        if training:
            return x
        mask = keras.ops.cast(inputs["padding_mask"], x.dtype)
        return x * keras.ops.expand_dims(mask, -1)


def score(model, tensors):
    """An endpoint: log-probabilities of all tokens but the first."""
    token_ids = tensors["token_ids"]
    logits = model(tensors, training=False)
    scores = keras.ops.log_softmax(logits[:, :-1])
    chosen = keras.ops.take_along_axis(scores, token_ids[:, 1:, None], -1)
    return {"log_probabilities": keras.ops.cast(chosen[..., 0], "float16")}


def continue_greedily(model, tensors):
    """An endpoint: two more tokens, by prefill and decode."""
    token_ids = tensors["token_ids"]
    length = keras.ops.shape(token_ids)[1]
    step = model.prefill(token_ids, max_length=9)
    first = keras.ops.argmax(step.logits, axis=-1)[:, None]
    step = model.decode(first, step.cache, length)
    second = keras.ops.argmax(step.logits, axis=-1)[:, None]
    return {
        "token_ids": keras.ops.concatenate([first, second], axis=1),
        "temperature": tensors["temperature"] * 2.0,
    }


def another_when_exported(model, tensors):
    """An endpoint that answers otherwise in the SavedModel."""
    added = int("saved_model_writer" in sys.argv[0])
    return {"number": tensors["number"] + added}


def scaled(model, tensors):
    """An endpoint with an input that may be left out."""
    logits = model(
        {name: tensors[name] for name in ("token_ids", "padding_mask")},
        training=False,
    )
    return {"scaled": logits * tensors["factor"][:, None, None]}
'''


@pytest.fixture(scope="session")
def custom_layers(tmp_path_factory):
    """Module with custom layers, in a folder that only sys.path knows."""
    folder = tmp_path_factory.mktemp("modules")
    source = textwrap.dedent(CUSTOM_LAYERS)
    (folder / "keras_moe_custom_layers.py").write_text(source)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield importlib.import_module("keras_moe_custom_layers")


def token_inputs():
    """The inputs of a keras-hub backbone."""
    return {
        "token_ids": keras.Input((None,), dtype="int32", name="token_ids"),
        "padding_mask": keras.Input(
            (None,), dtype="int32", name="padding_mask"
        ),
    }


@pytest.fixture(scope="session")
def language_model(custom_layers):
    """Functional model: dict in, dict out, one output in bfloat16.

    The dropout is so strong that training mode could not go unnoticed.
    """
    keras.utils.set_random_seed(0)
    inputs = token_inputs()
    x = keras.layers.Embedding(50, 8)(inputs["token_ids"])
    x = custom_layers.ScaledResidual()(x)
    x = custom_layers.Unregistered()(x)
    x = keras.layers.Dropout(0.9)(x)
    mask = keras.ops.cast(inputs["padding_mask"], "float32")
    x = x * keras.ops.expand_dims(mask, -1)
    logits = keras.layers.Dense(50, name="logits")(x)
    pooled = keras.layers.Dense(4, dtype="mixed_bfloat16")(
        keras.ops.mean(x, axis=1)
    )
    return keras.Model(inputs, {"logits": logits, "pooled": pooled})


@pytest.fixture(scope="session")
def sparse_model():
    """Sequential model with a gated and a plain bank of experts."""
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            keras.layers.Embedding(50, 16, mask_zero=True),
            SparseMoE(num_experts=8, intermediate_dim=12, top_k=2),
            SparseMoE(num_experts=4, intermediate_dim=12, top_k=1, gated=False),
            keras.layers.Dense(50),
        ]
    )


@pytest.fixture(scope="session")
def export_once(tmp_path_factory, worker_id):
    """Function that exports a model once for all test processes.

    Every process draws the same weights from the same seed.
    """
    folder = tmp_path_factory.getbasetemp()
    if worker_id != "master":
        folder = folder.parent
    folder = folder / "exported"
    folder.mkdir(exist_ok=True)

    def export(model, name, **options):
        base = folder / "deep" / name
        with open(folder / f"{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if base.exists():
                return base / "1"
            # Their tests compare the answers themselves.
            options = {"verify": False, "signatures": (), **options}
            return export_saved_model(model, base, verbose=False, **options)

    return export


@pytest.fixture(scope="session")
def exported(language_model, export_once):
    """Folder of version 1 of `language_model`."""
    return export_once(language_model, "language_model")


@pytest.fixture(scope="session")
def exported_sparse(sparse_model, export_once):
    """Folder of version 1 of `sparse_model`."""
    return export_once(sparse_model, "sparse_model")


@pytest.fixture
def token_batch():
    """A batch with a short row, as requests send it."""
    return {
        "token_ids": np.array([[3, 49, 0, 7, 7], [1, 2, 0, 0, 0]], "int32"),
        "padding_mask": np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]], "int32"),
    }
