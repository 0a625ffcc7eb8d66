"""Attention, embeddings and dense layers, each device with a part of them."""

import functools
import math
import re

import keras
import numpy as np
import pytest

from keras_moe.blocks import GroupedQueryAttention
from keras_moe.blocks import MultiHeadLatentAttention
from keras_moe.blocks import T5Attention
from keras_moe.distribution import ExpertParallel
from keras_moe.distribution import share_rows
from keras_moe.distribution import split_features
from keras_moe.distribution import split_rows
from keras_moe.distribution import split_weights
from keras_moe.distribution.tensor_parallel import split_dimension
from keras_moe.layers import FeedForward
from keras_moe.models import DeepSeekV3Backbone
from keras_moe.models import MixtralBackbone
from keras_moe.planning.training_step import compile_training_step
from keras_moe.routing import Capacity

# No kernel has an axis of the sequence's length.
BATCH, LENGTH, VOCABULARY, HEADS = 8, 7, 24, 8
SIZES = {
    "vocabulary_size": VOCABULARY,
    "num_query_heads": HEADS,
    "hidden_dim": 16,
    "num_experts": 8,
    # Roomy: no token is dropped.
    "router": {"capacity": Capacity(factor=4.0)},
}
MIXTRAL = {
    **SIZES,
    "num_layers": 1,
    "num_key_value_heads": 4,
    "intermediate_dim": 12,
    "tie_embedding_weights": True,
}
DEEPSEEK = {
    **SIZES,
    "num_layers": 2,
    "num_dense_layers": 1,
    "dense_intermediate_dim": 24,
    "intermediate_dim": 8,
    "num_shared_experts": 2,
    "top_k": 2,
    "query_latent_dim": 12,
    "key_value_latent_dim": 6,
    "nope_head_dim": 2,
    "rope_head_dim": 4,
    "value_head_dim": 3,
    "num_expert_groups": 2,
    "num_limited_groups": 1,
}
FAMILIES = {
    "mixtral": (MixtralBackbone, MIXTRAL),
    "fewer_keys": (MixtralBackbone, {**MIXTRAL, "num_key_value_heads": 2}),
    "deepseek": (DeepSeekV3Backbone, DEEPSEEK),
}
# On 8 devices two of them copy each of Mixtral's key/value heads.
MESHES = [
    ("mixtral", 2, 4),
    pytest.param("mixtral", 1, 8, marks=pytest.mark.exhaustive),
    pytest.param("deepseek", 2, 4, marks=pytest.mark.exhaustive),
    pytest.param("deepseek", 1, 8, marks=pytest.mark.exhaustive),
]
COLLECTIVE = re.compile(
    r" = (?P<arrays>.*?) (?P<name>all-gather|all-reduce|reduce-scatter"
    r"|collective-permute|collective-broadcast)(-start)?\("
)


def train(distribution, family):
    """Fit a language model; return its losses, and itself."""
    keras.distribution.set_distribution(distribution)
    keras.utils.set_random_seed(1)
    backbone_class, config = FAMILIES[family]
    backbone = backbone_class(**config)
    model = keras.Model(
        backbone.input, backbone.logits(backbone(backbone.input))
    )
    # What it changes weights by are gradients, nothing but added up.
    model.compile(
        keras.optimizers.SGD(0.5, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    generator = np.random.default_rng(0)
    ids = generator.integers(0, VOCABULARY, (2 * BATCH, LENGTH + 1))
    mask = np.arange(LENGTH) < generator.integers(3, LENGTH, (2 * BATCH, 1))
    inputs = {"token_ids": ids[:, :-1], "padding_mask": mask.astype("int32")}
    history = model.fit(
        *(inputs, ids[:, 1:]),
        batch_size=BATCH,
        epochs=2,
        shuffle=False,
        verbose=0,
    ).history
    return history["loss"], model


@functools.cache
def on_one_device(family):
    losses, model = train(None, family)
    return losses, [np.asarray(weight) for weight in model.weights]


def is_whole(variable):
    shards = variable.value.addressable_shards
    return shards[0].data.shape == tuple(variable.shape)


@pytest.mark.multi_device
@pytest.mark.parametrize(("family", "data", "expert"), MESHES)
def test_training_in_parts_is_that_of_one_device(family, data, expert):
    distribution = ExpertParallel(data, expert, shard="tensor")
    losses, model = train(distribution, family)
    expected_losses, expected = on_one_device(family)
    # Sums of the same float32 numbers in another order.
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-6)
    for weight, value in zip(model.weights, expected, strict=True):
        np.testing.assert_allclose(
            np.asarray(weight), value, atol=1e-6, err_msg=weight.path
        )
    split = [each for each in model.trainable_weights if not is_whole(each)]
    for variable in (*split, *model.optimizer.variables):
        if not is_whole(variable):
            held = variable.value.addressable_shards[0].data.size
            assert held * expert == math.prod(variable.shape)
    # Of each kind of weight; slots have their weight's shape.
    names = {"/".join(each.path.split("/")[-2:]) for each in split}
    assert (
        names
        == {
            "mixtral": {"token_embedding/embeddings", "query/kernel"}
            | {"output/kernel", "gate_up/kernel", "down/kernel"}
            | ({"key/kernel", "value/kernel"} if expert == 4 else set()),
            "deepseek": {"token_embedding/embeddings", "query_up/kernel"}
            | {"token_embedding/reverse_embeddings", "key_value_up/kernel"}
            | {"output/kernel", "gate_up/kernel", "down/kernel"}
            | {"up/kernel", "gate/kernel"},
        }[family]
    )
    slots = [x for x in model.optimizer.variables if not is_whole(x)]
    assert len(slots) == len(split)


@pytest.mark.multi_device
@pytest.mark.parametrize(
    ("family", "data", "expert"),
    [
        ("deepseek", 2, 4),
        pytest.param("mixtral", 2, 4, marks=pytest.mark.exhaustive),
        pytest.param("fewer_keys", 2, 4, marks=pytest.mark.exhaustive),
        pytest.param("mixtral", 1, 8, marks=pytest.mark.exhaustive),
    ],
)
def test_activations_travel_and_no_weights_do(family, data, expert):
    distribution = ExpertParallel(data, expert, shard="tensor")
    backbone_class, config = FAMILIES[family]
    program = compile_training_step(
        backbone_class, config, distribution, BATCH, LENGTH, "sgd"
    )
    gathered, reduced = [], []
    for found in COLLECTIVE.finditer(program.text):
        shapes = re.findall(r"\[([\d,]*)\]", found["arrays"])
        into = reduced if found["name"] == "all-reduce" else gathered
        into += [tuple(map(int, filter(None, x.split(",")))) for x in shapes]
    rows = BATCH // data
    assert gathered and all(x[0] == rows and LENGTH in x for x in gathered)
    # Gradients are added up, of a weight that is split in parts.
    assert (VOCABULARY, 16) not in reduced and (16, HEADS, 2) not in reduced


@pytest.mark.multi_device
@pytest.mark.sweep(first=2)
@pytest.mark.parametrize(
    "make",
    [
        lambda: MultiHeadLatentAttention(8, 6, 4, 2, 3, use_bias=True),
        lambda: FeedForward(12, use_bias=True),
        # Heads that have a norm each, and key/value heads that are copied.
        lambda: GroupedQueryAttention(
            *(8, 2, 4),
            query_key_norm="head",
            use_query_key_value_bias=True,
            use_output_bias=True,
        ),
        lambda: GroupedQueryAttention(8, 4, query_key_norm="projection"),
        # Heads that 4 devices cannot divide.
        lambda: GroupedQueryAttention(6, 2, 4, soft_cap=5.0),
        lambda: T5Attention(8, 4),
        lambda: FeedForward(12, "relu", gated=False),
        lambda: FeedForward(10),
    ],
)
def test_gradients_in_parts_are_those_of_one_device(make):
    import jax

    x = np.random.default_rng(0).normal(size=(8, 5, 16)).astype("float32")

    def gradients(distribution):
        keras.distribution.set_distribution(distribution)
        keras.utils.set_random_seed(1)
        layer = make()
        layer.build(x.shape)
        others = [each.value for each in layer.non_trainable_variables]

        def loss(weights, x):
            outputs, _ = layer.stateless_call(weights, others, x)
            return keras.ops.sum(outputs**2)

        weights = [each.value for each in layer.trainable_variables]
        return jax.jit(jax.value_and_grad(loss, (0, 1)))(weights, x)

    expected = jax.tree.leaves(gradients(None))
    found = jax.tree.leaves(gradients(ExpertParallel(2, 4, shard="tensor")))
    for actual, gradient in zip(found, expected, strict=True):
        # Sums of some hundred numbers.
        scale = np.abs(gradient).max()
        np.testing.assert_allclose(actual, gradient, atol=3e-6 * scale)


@pytest.mark.once
def test_weights_say_which_dimension_is_split():
    layer = keras.layers.Dense(4)
    with split_weights(layer, kernel=1):
        layer.build((None, 8))
    assert split_dimension(layer.kernel) == 1
    assert split_dimension(layer.bias) is None


@pytest.mark.once
def test_without_a_distribution_activations_stay_as_they_are():
    x = keras.ops.ones((8, 2))
    assert share_rows(x, 2) is x and split_rows(x, 2) is x
    assert split_features(x, -1) is x
