"""Configurations: of NumPy's numbers, and of the required keys alone."""

import inspect
import json

import keras
import numpy as np
import pytest
from keras import ops

from keras_moe import balancing
from keras_moe import blocks
from keras_moe import experts
from keras_moe import layers
from keras_moe import models
from keras_moe import routing
from keras_moe.balancing.get_rules import RULES
from keras_moe.callbacks import RoutingMonitor

# One of each class, with the arguments that it cannot do without. Parts come
# as functions, so that each test gets new ones.
REQUIRED = {
    layers.FeedForward: {"intermediate_dim": 4},
    layers.RoutingStatistics: {"num_experts": 4},
    layers.SharedExpertMoE: {"num_experts": 4, "intermediate_dim": 4},
    layers.SparseMoE: {"num_experts": 4, "intermediate_dim": 4},
    **{router: {"num_experts": 4} for router in layers.ROUTERS.values()},
    layers.HashRouter: {"num_experts": 4, "vocabulary_size": 7},
    layers.ExpertMixture: {"num_experts": 4, "units": 4},
    experts.FeedForwardExperts: {"num_experts": 4, "intermediate_dim": 4},
    experts.GatedExperts: {"num_experts": 4, "intermediate_dim": 4},
    experts.GroupedDense: {"num_experts": 4, "units": 4},
    **{rule: {} for rule in RULES.values()},
    routing.Capacity: {},
    routing.CombineWeights: {},
    routing.ExpertGroups: {"num_groups": 4, "num_limited": 2},
    experts.PerExpertInitializer: {"initializer": "glorot_uniform"},
    blocks.DecoderBlock: {
        "attention": lambda: blocks.GroupedQueryAttention(2, 1),
        "feed_forward": lambda: layers.SparseMoE(4, 4),
    },
    blocks.GroupedQueryAttention: {
        "num_query_heads": 2,
        "num_key_value_heads": 1,
    },
    blocks.MultiHeadLatentAttention: {
        "num_query_heads": 2,
        "key_value_latent_dim": 4,
        "nope_head_dim": 4,
        "rope_head_dim": 2,
        "value_head_dim": 4,
    },
    blocks.PatchEmbedding: {"patch_size": 2, "hidden_dim": 4},
    blocks.RelativePositionBias: {"num_heads": 2},
    blocks.T5Attention: {"num_heads": 2, "head_dim": 4},
    blocks.T5DecoderBlock: {
        "num_heads": 2,
        "head_dim": 4,
        "feed_forward": lambda: layers.FeedForward(4),
    },
    blocks.T5EncoderBlock: {
        "num_heads": 2,
        "head_dim": 4,
        "feed_forward": lambda: layers.SparseMoE(4, 4),
    },
    blocks.T5FeedForwardBlock: {"feed_forward": lambda: layers.FeedForward(4)},
    blocks.ReversibleEmbedding: {"input_dim": 7, "output_dim": 4},
    blocks.VisionEncoderBlock: {
        "num_heads": 2,
        "head_dim": 4,
        "feed_forward": lambda: layers.SparseMoE(4, 4),
    },
}

# What is `None` or off by default.
MORE = {
    layers.TopKRouter: {
        "score_function": "sigmoid",
        "balancing": balancing.ExpertBias(0.5),
        "expert_groups": routing.ExpertGroups(2, 1),
        "combine_weights": routing.CombineWeights(normalize=True),
        "seed": 3,
    },
    routing.Capacity: {"factor": 1.5, "eval_factor": 2.0},
    layers.SparseMoE: {"capacity": routing.Capacity(1.5, 2.0)},
    layers.SharedExpertMoE: {
        "capacity": routing.Capacity(slots=3),
        "shared_intermediate_dim": 3,
    },
    blocks.GroupedQueryAttention: {
        "head_dim": 4,
        "sliding_window": 2,
        "rope_dim": 2,
        "clip_query_key_value": 3.0,
        "attention_scale": 0.5,
        "soft_cap": 30.0,
    },
    blocks.MultiHeadLatentAttention: {
        "query_latent_dim": 4,
        "yarn": {"scaling_factor": 4.0, "original_max_length": 64},
    },
}


def make(cls, more=False):
    arguments = {**REQUIRED[cls], **(MORE.get(cls, {}) if more else {})}
    return cls(
        **{
            name: value() if inspect.isfunction(value) else value
            for name, value in arguments.items()
        }
    )


def to_numpy(value):
    if isinstance(value, bool):
        return np.bool_(value)
    if isinstance(value, int):
        return np.int64(value)
    if isinstance(value, float):
        return np.float64(value)
    if isinstance(value, dict) and "class_name" not in value:
        return {name: to_numpy(each) for name, each in value.items()}
    return value


def test_every_public_class_is_listed():
    public = [
        getattr(room, name)
        for room in (layers, experts, blocks)
        for name in room.__all__
    ]
    layer_classes = {
        each
        for each in public
        if isinstance(each, type) and issubclass(each, keras.layers.Layer)
    }
    abstract = {experts.ExpertBank, layers.Router}
    assert layer_classes <= {*REQUIRED, *abstract}


@pytest.mark.once
@pytest.mark.parametrize("cls", REQUIRED)
def test_numpy_numbers_give_the_configuration_of_pythons(cls):
    config = make(cls, more=True).get_config()
    of_numpy = cls.from_config(to_numpy(config)).get_config()
    assert of_numpy == config
    json.dumps(of_numpy)  # Refuses NumPy's numbers.


@pytest.mark.once
@pytest.mark.parametrize("cls", REQUIRED)
def test_missing_keys_take_the_constructors_defaults(cls):
    whole = make(cls).get_config()
    required = {name: whole[name] for name in REQUIRED[cls]}
    received = cls.from_config(required).get_config()
    assert received.keys() == whole.keys()
    for name, value in received.items():
        if name not in ("name", "router"):  # Numbered, or holds such names.
            assert value == whole[name], name


@pytest.mark.once
def test_a_backbone_takes_numpy_numbers():
    config = models.MixtralBackbone(
        vocabulary_size=np.int64(16),
        num_layers=np.int32(1),
        num_query_heads=np.int64(2),
        num_key_value_heads=np.int64(1),
        hidden_dim=np.int64(8),
        intermediate_dim=np.int64(4),
        num_experts=np.int64(4),
        router={"capacity": routing.Capacity(np.float32(1.5))},
        dropout=np.float32(0.5),
    ).get_config()
    json.dumps(config)
    capacity = config["router"]["capacity"]
    assert capacity["config"]["factor"] == 1.5


def test_a_monitor_takes_a_numpy_number():
    RoutingMonitor(update_freq=np.int64(2))


@pytest.mark.parametrize("factor", [np.float32(1.5), np.float16(1.5), 1.5])
def test_a_capacity_factor_of_any_width_is_saved(factor, tmp_path):
    inputs = keras.Input((5, 6))
    capacity = routing.Capacity(eval_factor=factor)
    layer = layers.SparseMoE(4, np.int64(4), capacity=capacity)
    model = keras.Model(inputs, layer(inputs))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    x = np.random.default_rng(0).normal(size=(2, 5, 6)).astype("float32")
    outputs = [
        ops.convert_to_numpy(ops.stop_gradient(each(x)))
        for each in (model, loaded)
    ]
    np.testing.assert_allclose(outputs[1], outputs[0], rtol=1e-6)
