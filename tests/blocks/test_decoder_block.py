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
    "dense": lambda: FeedForward(24),
    "sparse": lambda: SparseMoE(4, 24),
    "shared": lambda: SharedExpertMoE(4, 24),
}


def make_block(kind="sparse", **kwargs):
    return DecoderBlock(
        GroupedQueryAttention(4, 2), FEED_FORWARDS[kind](), **kwargs
    )


def inputs_of(shape=(2, 5, 16)):
    values = np.random.default_rng(0).normal(size=shape)
    return ops.convert_to_tensor(values, dtype="float32")


@pytest.mark.parametrize("kind", FEED_FORWARDS)
def test_parts_are_joined_by_norms_and_residuals(kind):
    block = make_block(kind)
    inputs = inputs_of()
    outputs = block(inputs)
    x = inputs + block.attention(block.attention_norm(inputs))
    x = x + block.feed_forward(block.feed_forward_norm(x))
    np.testing.assert_allclose(
        ops.convert_to_numpy(outputs), ops.convert_to_numpy(x), atol=1e-6
    )


def test_only_sparse_parts_are_given_the_padding_mask():
    padding_mask = np.array([[True] * 3 + [False] * 2])
    block = make_block("sparse")
    # A router that saw padding would count 5 tokens.
    block.feed_forward.statistics.enabled = True
    block(inputs_of((1, 5, 16)), padding_mask=padding_mask, training=True)
    counts = block.feed_forward.statistics.result()["tokens_per_expert"]
    assert counts.sum() == 3 * 2
    make_block("dense")(inputs_of((1, 5, 16)), padding_mask=padding_mask)


@pytest.mark.parametrize("kind", FEED_FORWARDS)
def test_config_round_trip_keeps_the_function(kind):
    block = make_block(kind, layer_norm_epsilon=1e-3, dropout=0.2)
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


def test_symbolic_shapes_stay_unknown():
    inputs = keras.Input((None, 16))
    assert make_block()(inputs).shape == (None, None, 16)
