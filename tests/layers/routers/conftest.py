"""Routers of the table, each with what it needs besides a number of experts."""

import inspect

import keras
import numpy as np
import pytest

from keras_moe.layers import SparseMoE
from keras_moe.layers import get_router

VOCABULARY = 11
# More constructor arguments, where defaults are not enough.
NEEDED = {
    "hash": {"vocabulary_size": VOCABULARY},
    "zero_computation": {"num_identity": 1, "num_constant": 1, "num_zero": 1},
}


@pytest.fixture
def make_router():
    """Return `make(name, num_experts, top_k, **changes)`.

    Changes that its constructor does not know are left out. Experts that
    compute nothing come on top of `num_experts`.
    """

    def make(name, num_experts=4, top_k=2, **changes):
        router_class = get_router(name)
        known = _arguments(router_class)
        changes = {"top_k": top_k, "seed": 3, "name": "router", **changes}
        changes = {k: v for k, v in changes.items() if k in known}
        needed = NEEDED.get(name, {})
        free = sum(v for k, v in needed.items() if k.startswith("num_"))
        return router_class(num_experts + free, **needed, **changes)

    return make


@pytest.fixture
def make_layer(make_router):
    """Return `make(name, *args, **changes)`: a layer of tokens and ids alone.

    Its router is made by `make_router`. Ids that the router needs come from
    the tokens' positions.
    """

    def make(*args, **changes):
        return WithIds(make_router(*args, **changes), name="layer")

    return make


@keras.saving.register_keras_serializable(package="tests")
class WithIds(keras.layers.Layer):
    """A sparse layer that is given token ids, if its router asks for them."""

    def __init__(self, router, **kwargs):
        super().__init__(**kwargs)
        self.sparse = SparseMoE(
            router.num_experts, 3, router=router, name="sparse"
        )

    def build(self, inputs_shape):
        self.sparse.build(inputs_shape)

    def call(self, inputs, padding_mask=None, training=None):
        needed = {}
        if (
            "token_ids"
            in inspect.signature(self.sparse.router.route).parameters
        ):
            shape = keras.ops.shape(inputs)[:-1]
            size = shape[0] * shape[1]
            token_ids = keras.ops.arange(size, dtype="int32") * 7
            needed["token_ids"] = keras.ops.reshape(token_ids, shape)
        return self.sparse(
            inputs, padding_mask=padding_mask, training=training, **needed
        )

    def rematerialized_call(self, layer_call, *args, **kwargs):
        return layer_call

    def get_config(self):
        router = keras.saving.serialize_keras_object(self.sparse.router)
        router.pop("build_config", None)
        return {**super().get_config(), "router": router}

    @classmethod
    def from_config(cls, config):
        config["router"] = keras.saving.deserialize_keras_object(
            config["router"]
        )
        return cls(**config)


def _arguments(router_class):
    """Names of a constructor's arguments, those of the bases included."""
    names = set()
    for each in router_class.__mro__:
        if issubclass(each, keras.layers.Layer):
            names |= set(inspect.signature(each.__init__).parameters)
    return names


@pytest.fixture
def draw():
    """Return `draw(*shape, seed=0)`, normal float32 numbers."""

    def draw(*shape, seed=0):
        rng = np.random.default_rng(seed)
        return rng.standard_normal(shape).astype("float32")

    return draw
