"""Models whose weights keep their order and whose functions stay fresh."""

import json
from pathlib import Path

import keras
import keras_hub
import numpy as np
import pytest
from keras import ops

from tests.models import small_backbones

pytestmark = pytest.mark.usefixtures("no_collections")

# Written by JAX before PyTorch had the same order, so older files load.
ORDER = json.loads(Path(__file__).with_name("weight_order.json").read_text())


@pytest.mark.sweep(first=3)
@pytest.mark.parametrize("family", small_backbones.ALL)
def test_weights_come_in_the_same_order_on_every_backend(family):
    model = small_backbones.make_task(family)
    names = small_backbones.weight_names(model)
    assert names == ORDER[family]
    trainable = [each.path for each in model.trainable_weights]
    frozen = {each.path for each in model.non_trainable_weights}
    assert trainable == [name for name in names if name not in frozen]
    backbone = small_backbones.weight_names(model.backbone)
    assert backbone == names[: len(backbone)]


def batch():
    token_ids = np.random.default_rng(0).integers(1, 48, (2, 8))
    return {
        "token_ids": token_ids.astype("int32"),
        "padding_mask": np.ones_like(token_ids, dtype="int32"),
    }


def make_model(**changes):
    model = small_backbones.make_task(
        "mixtral", num_layers=1, sliding_window=None, **changes
    )
    randomize(model.trainable_weights)
    model.compile(sampler="greedy")
    return model


def randomize(weights, seed=0, scale=0.4):
    rng = np.random.default_rng(seed)
    for weight in weights:
        if "norm" not in weight.path:
            weight.assign(rng.normal(scale=scale, size=weight.shape))


def prompts():
    inputs = batch()
    inputs["padding_mask"][:, 3:] = 0
    return inputs


def generate(model):
    return model.generate(prompts(), stop_token_ids=None)["token_ids"]


def uncached(model):
    """Continue the prompts greedily, the whole model called eagerly."""
    token_ids = prompts()["token_ids"].copy()
    for position in range(3, 8):
        seen = np.arange(8) < position
        logits = model(
            {
                "token_ids": token_ids,
                "padding_mask": np.tile(seen, (2, 1)).astype("int32"),
            }
        )
        best = ops.convert_to_numpy(logits)[:, position - 1].argmax(-1)
        token_ids[:, position] = best
    return token_ids


def add_adapters(model):
    model.backbone.enable_lora(2)
    randomize(model.trainable_weights, seed=1, scale=2.0)


def quantize(model):
    model.quantize("int8")


def exchange_frozen(model):
    """Freeze one of two projections alike, then the other with new values."""
    attention = model.backbone.decoder_blocks[0].attention
    attention.key.trainable = False
    generate(model)
    attention.key.trainable, attention.value.trainable = True, False
    randomize([attention.key.kernel, attention.value.kernel], seed=3, scale=1.0)


def load_others(model):
    randomize(model.weights, seed=2)


@pytest.mark.parametrize(
    "change",
    [
        add_adapters,
        # Each compiles twice more.
        pytest.param(quantize, marks=pytest.mark.exhaustive),
        pytest.param(exchange_frozen, marks=pytest.mark.exhaustive),
        pytest.param(load_others, marks=pytest.mark.exhaustive),
    ],
)
def test_what_is_generated_follows_the_model(change):
    model = make_model()
    before = generate(model)
    model.predict_on_batch(batch())
    change(model)
    after = generate(model)
    assert (after != before).any()
    np.testing.assert_array_equal(after, uncached(model))
    # Compiled or recorded, float32 sums differ in their order alone.
    np.testing.assert_allclose(
        model.predict_on_batch(batch()),
        ops.convert_to_numpy(model(batch())),
        atol=1e-4,
    )


@pytest.mark.once
def test_experts_are_quantized_to_integers_and_routers_are_not():
    model = make_model()
    model.quantize("int8")
    block = model.backbone.decoder_blocks[0]
    assert block.attention.query.quantization_mode == "int8"
    assert model.backbone.token_embedding.quantization_mode == "int8"
    for part in block.feed_forward.experts.parts():
        assert part.quantization_mode == "int8"
    assert block.feed_forward.router.kernel.dtype == "float32"


@pytest.mark.once
@pytest.mark.filterwarnings("ignore:Invalid quantization mode")
def test_one_warning_says_that_experts_know_no_other_mode():
    model = make_model()
    match = "^The experts stay float32: they know 'int8' only, not 'float8'"
    with pytest.raises(UserWarning, match=match):
        model.quantize("float8")  # Warnings are errors here; it comes last.


@pytest.mark.once
@pytest.mark.parametrize(
    "filters", ["^query$", ["query$"], lambda layer: layer.name == "query"]
)
def test_filters_choose_what_is_quantized(filters):
    model = make_model()
    model.quantize("int8", filters=filters)
    quantized = {
        layer.name
        for layer in model.backbone.decoder_blocks[0].attention._layers
        if layer.quantization_mode
    }
    assert quantized == {"query"}
    assert model.backbone.token_embedding.quantization_mode is None


@pytest.mark.sweep
def test_a_sampler_that_is_changed_is_seen():
    model = make_model()
    sampler = keras_hub.samplers.RandomSampler(temperature=1e-6, seed=1)
    model.compile(sampler=sampler)
    coldest = generate(model)
    np.testing.assert_array_equal(coldest, uncached(model))
    sampler.temperature = 1e6
    assert (generate(model) != coldest).any()


@pytest.mark.sweep
@pytest.mark.exhaustive
def test_a_changed_dtype_policy_is_seen():
    model = make_model()
    generate(model)
    state = model._generate_state
    model.backbone.decoder_blocks[
        0
    ].attention.query.dtype_policy = "mixed_bfloat16"
    generate(model)
    assert model._generate_state != state
    generate_function = model.generate_function
    generate(model)
    assert model.generate_function is generate_function


@pytest.mark.exhaustive
@pytest.mark.once
@pytest.mark.filterwarnings(
    "ignore:The experts stay float32",
    "ignore:Invalid quantization mode",  # Of the embedding.
    # Keras reads its variables through an `__array__` without `copy`.
    "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning",
)
def test_gptq_finds_the_blocks_and_what_is_generated_follows():
    class Bytes:
        def tokenize(self, text):
            return np.frombuffer(text.encode(), "uint8").astype("int32") % 48

    model = make_model()
    before = model.predict_on_batch(batch())
    generate(model)
    model.quantize(
        "gptq",
        config=keras.quantizers.GPTQConfig(
            dataset=["a text to measure with, " * 4],
            tokenizer=Bytes(),
            weight_bits=8,
            num_samples=2,
            sequence_length=4,
            group_size=-1,
        ),
    )
    attention = model.backbone.decoder_blocks[0].attention
    assert attention.query.quantization_mode == "gptq"
    after = model.predict_on_batch(batch())
    # 8 bits: kernels move by up to 1 / 255 of their range.
    assert 0.0 < np.abs(after - before).max() < 0.2 * before.std()
    np.testing.assert_array_equal(generate(model), uncached(model))
