"""Adapters on the attention of every architecture."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.models import small_backbones

BIASED = {
    "deepseek_v3": {"use_attention_bias": True},
    "qwen2_moe": {},
}
LATENT = ["query_down", "query_up", "key_value_down", "key_value_up"]
ADAPTED = {
    "deepseek_v2": ["query", "key_value_down", "key_value_up"],
    "deepseek_v3": LATENT,
}


def randomize(weights, seed=0, scale=0.4):
    rng = np.random.default_rng(seed)
    for weight in weights:
        if "norm" not in weight.path:
            weight.assign(rng.normal(scale=scale, size=weight.shape))


def batch():
    token_ids = np.random.default_rng(0).integers(1, 48, (2, 8))
    return {
        "token_ids": token_ids.astype("int32"),
        "padding_mask": np.ones_like(token_ids, dtype="int32"),
    }


# The names are of no backend.
@pytest.mark.once
@pytest.mark.parametrize("family", small_backbones.ALL)
def test_attention_learns_adapters_and_nothing_else(family):
    backbone = small_backbones.make_task(
        family, **BIASED.get(family, {})
    ).backbone
    backbone.enable_lora(2)
    names = ADAPTED.get(family, ["query", "value"])
    trainable = [each.path.split("/") for each in backbone.trainable_variables]
    assert {path[-2] for path in trainable} == {*names}
    assert {path[-1] for path in trainable} == {
        "lora_kernel_a",
        "lora_kernel_b",
    }
    blocks = {path[0] for path in trainable}
    assert len(blocks) == sum(
        "block" in layer.name for layer in backbone.layers
    )


@pytest.mark.once
@pytest.mark.parametrize("names", [["router"], ["query", "values"], ["q"]])
def test_names_that_adapt_nothing_are_refused_and_nothing_is_frozen(names):
    backbone = small_backbones.make_task("mixtral").backbone
    count = len(backbone.trainable_variables)
    with pytest.raises(ValueError, match=r"'query', 'token_emb.*Received: \["):
        backbone.enable_lora(2, names)
    assert len(backbone.trainable_variables) == count
    backbone.enable_lora(2, ["key"])
    assert len(backbone.trainable_variables) == 2 * 2


@pytest.mark.parametrize(
    "family",
    [
        pytest.param("deepseek_v3", marks=pytest.mark.once),
        pytest.param("deepseek_v2", marks=pytest.mark.exhaustive),
        pytest.param("qwen2_moe", marks=pytest.mark.exhaustive),
        pytest.param("grok1", marks=pytest.mark.exhaustive),
    ],
)
def test_adapters_are_trained_and_used_while_decoding(family, tmp_path):
    model = small_backbones.make_task(family)
    randomize(model.trainable_weights)
    model.backbone.enable_lora(2)
    randomize(model.trainable_weights, seed=1)
    before = [np.array(each) for each in model.get_weights()]
    model.compile(
        keras.optimizers.SGD(0.1),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        sampler="greedy",
        jit_compile=False,
    )
    model.train_on_batch(batch(), batch()["token_ids"])
    for weight, old in zip(model.weights, before, strict=True):
        moved = (ops.convert_to_numpy(weight.value) != old).any()
        assert moved == ("lora_kernel" in weight.path), weight.path

    # Decoding absorbs the up-projections of latent attention.
    inputs = batch()
    inputs["padding_mask"][:, 3:] = 0
    outputs = model.generate(inputs, stop_token_ids=None)["token_ids"]
    expected = inputs["token_ids"].copy()
    for position in range(3, 8):
        seen = np.tile(np.arange(8) < position, (2, 1)).astype("int32")
        logits = model.predict_on_batch(
            {"token_ids": expected, "padding_mask": seen}
        )
        expected[:, position] = logits[:, position - 1].argmax(-1)
    np.testing.assert_array_equal(outputs, expected)

    # Saved alone, the adapters make another copy of the model the same.
    path = str(tmp_path / "adapters.lora.h5")
    model.backbone.save_lora_weights(path)
    other = small_backbones.make_task(family)
    randomize(other.trainable_weights)
    other.backbone.load_lora_weights(path)
    np.testing.assert_array_equal(
        np.concatenate([each.ravel() for each in other.get_weights()]),
        np.concatenate([each.ravel() for each in model.get_weights()]),
    )


def test_a_router_that_is_frozen_stays_so_in_a_copy():
    task = small_backbones.make_task("mixtral", router={"trainable": False})
    copy = type(task.backbone).from_config(task.backbone.get_config())
    for backbone in (task.backbone, copy):
        paths = [each.path for each in backbone.trainable_variables]
        assert not [path for path in paths if "router" in path]
