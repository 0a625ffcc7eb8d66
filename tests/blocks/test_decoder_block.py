"""The decoder block."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_moe.blocks import DecoderBlock
from keras_moe.blocks import GroupedQueryAttention
from keras_moe.layers import FeedForward
from keras_moe.layers import SharedExpertMoE
from keras_moe.layers import SparseMoE

FEED_FORWARDS = {
    "sparse": lambda: SparseMoE(4, 24),
    "dense": lambda: FeedForward(24),
    "shared": lambda: SharedExpertMoE(4, 24),
}


# What a block may have beyond two parts behind RMS norms.
VARIATIONS = {
    "none": lambda: {},
    "all": lambda: {
        "norm": "layer",
        "sandwich_norms": True,
        "extra_feed_forward": FeedForward(20),
        "layer_norm_epsilon": 0.1,
    },
    "layer norms": lambda: {"norm": "layer"},
    "norms without bias": lambda: {"norm": "layer_without_bias"},
    "sandwich": lambda: {"sandwich_norms": True},
    "extra": lambda: {"extra_feed_forward": FeedForward(20)},
}


def make_block(kind="sparse", **kwargs):
    return DecoderBlock(
        GroupedQueryAttention(4, 2), FEED_FORWARDS[kind](), **kwargs
    )


def join_by_hand(block):
    """Return the function of a block: its parts between norms and sums."""

    def no_norm(x):
        return x

    after_attention = getattr(block, "attention_output_norm", no_norm)
    after_feed_forward = getattr(block, "feed_forward_output_norm", no_norm)

    def function(x):
        x = x + after_attention(block.attention(block.attention_norm(x)))
        fed = block.feed_forward(block.feed_forward_norm(x))
        x = x + after_feed_forward(fed)
        if block.extra_feed_forward is not None:
            normed = block.extra_feed_forward_norm(x)
            x = x + block.extra_feed_forward(normed)
        return x

    return function


NORM_CLASSES = {
    "rms": keras.layers.RMSNormalization,
    "layer": keras.layers.LayerNormalization,
    "layer_without_bias": keras.layers.LayerNormalization,
}


def inputs_of(shape=(2, 5, 16)):
    values = np.random.default_rng(0).normal(size=shape)
    return ops.convert_to_tensor(values, dtype="float32")


@pytest.mark.sweep
@pytest.mark.parametrize("variation", VARIATIONS)
@pytest.mark.parametrize("kind", FEED_FORWARDS)
def test_parts_are_joined_by_norms_and_residuals(
    kind, variation, fill_weights, differentiate
):
    block = make_block(kind, **VARIATIONS[variation]())
    inputs = ops.convert_to_numpy(inputs_of())
    block.build(inputs.shape)
    fill_weights(block)
    cotangent = np.random.default_rng(1).normal(size=inputs.shape)
    outputs, gradients = differentiate(block, inputs, cotangent)
    by_hand = join_by_hand(block)
    expected = differentiate(block, inputs, cotangent, by_hand)
    np.testing.assert_allclose(outputs, expected[0], atol=1e-5)
    for name, gradient in gradients.items():
        np.testing.assert_allclose(
            gradient, expected[1][name], rtol=1e-4, atol=1e-4, err_msg=name
        )
        assert np.abs(gradient).max() > 1e-4, name


@pytest.mark.parametrize("norm", NORM_CLASSES)
def test_all_norms_are_of_one_kind(norm):
    block = make_block(
        norm=norm,
        layer_norm_epsilon=0.1,
        sandwich_norms=True,
        extra_feed_forward=FeedForward(20),
    )
    block.build((2, 5, 16))
    norms = [
        getattr(block, f"{part}_norm")
        for part in (
            "attention",
            "attention_output",
            "feed_forward",
            "feed_forward_output",
            "extra_feed_forward",
        )
    ]
    assert {type(each) for each in norms} == {NORM_CLASSES[norm]}
    assert {each.epsilon for each in norms} == {0.1}
    # Scales, and biases in layer norms alone.
    assert sum(len(each.weights) for each in norms) == (
        10 if norm == "layer" else 5
    )


@pytest.mark.sweep
def test_dropout_is_applied_to_every_part():
    # With everything dropped, the inputs are left.
    block = make_block(
        dropout=1.0, sandwich_norms=True, extra_feed_forward=FeedForward(20)
    )
    outputs = block(inputs_of(), training=True)
    np.testing.assert_array_equal(
        ops.convert_to_numpy(outputs), ops.convert_to_numpy(inputs_of())
    )


@pytest.mark.sweep
def test_only_sparse_parts_are_given_the_padding_mask():
    padding_mask = np.array([[True] * 3 + [False] * 2])
    block = make_block("sparse")
    # A router that saw padding would count 5 tokens.
    block.feed_forward.statistics.enabled = True
    block(inputs_of((1, 5, 16)), padding_mask=padding_mask, training=True)
    counts = block.feed_forward.statistics.result()["tokens_per_expert"]
    assert counts.sum() == 3 * 2
    make_block("dense")(inputs_of((1, 5, 16)), padding_mask=padding_mask)


@pytest.mark.sweep(first=2)
@pytest.mark.parametrize("variation", VARIATIONS)
@pytest.mark.parametrize("kind", FEED_FORWARDS)
def test_config_round_trip_keeps_the_function(kind, variation, fill_weights):
    arguments = {"layer_norm_epsilon": 1e-3, **VARIATIONS[variation]()}
    block = make_block(kind, dropout=0.2, **arguments)
    block.build((2, 5, 16))
    fill_weights(block)
    expected = block(inputs_of())
    config = keras.saving.serialize_keras_object(block)
    copy = keras.saving.deserialize_keras_object(config)
    copy(inputs_of())
    copy.set_weights(block.get_weights())
    np.testing.assert_array_equal(
        ops.convert_to_numpy(copy(inputs_of())),
        ops.convert_to_numpy(expected),
    )
    assert copy.get_config() == block.get_config()


@pytest.mark.sweep
def test_a_cache_passes_through_every_part(fill_weights):
    block = make_block(**VARIATIONS["all"]())
    inputs = inputs_of()
    block.build(inputs.shape)
    fill_weights(block)
    expected = ops.convert_to_numpy(block(inputs))
    cache = block.attention.empty_cache(2, 8)
    for position in range(5):
        outputs, cache = block(
            inputs[:, position : position + 1],
            cache=cache,
            cache_update_index=position,
        )
        np.testing.assert_allclose(
            ops.convert_to_numpy(outputs)[:, 0],
            expected[:, position],
            atol=1e-4,
        )


def test_unknown_norms_are_refused():
    with pytest.raises(ValueError, match="'batch'"):
        make_block(norm="batch")


def test_symbolic_shapes_stay_unknown():
    inputs = keras.Input((None, 16))
    assert make_block()(inputs).shape == (None, None, 16)


def test_parts_may_have_another_dtype_policy_than_their_block():
    block = make_block("dense", dtype="mixed_bfloat16")
    assert block.attention.compute_dtype == "float32"
    outputs = block(inputs_of())
    assert keras.backend.standardize_dtype(outputs.dtype) == "bfloat16"
