"""Tests of the T5 feed-forward block."""

import keras
import numpy as np
from keras import ops

from keras_moe.blocks.t5_feed_forward_block import T5FeedForwardBlock
from keras_moe.layers import FeedForward
from keras_moe.layers import SparseMoE
from keras_moe.routing import Capacity


def sparse_block(**arguments):
    experts = SparseMoE(4, 6, top_k=1, gated=False, **arguments)
    return T5FeedForwardBlock(experts)


def test_adds_the_feed_forward_of_the_norm():
    block = T5FeedForwardBlock(
        FeedForward(6, activation="relu", gated=False), layer_norm_epsilon=1e-3
    )
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 3, 4)).astype("float32")
    block.build(x.shape)
    scale = rng.normal(size=4).astype("float32")
    block.norm.scale.assign(scale)
    up = ops.convert_to_numpy(block.feed_forward.up.kernel)
    down = ops.convert_to_numpy(block.feed_forward.down.kernel)
    normed = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-3) * scale
    expected = x + np.maximum(normed @ up, 0) @ down
    np.testing.assert_allclose(
        ops.convert_to_numpy(block(x)), expected, rtol=1e-4, atol=1e-5
    )


def test_padding_passes_unchanged_and_takes_no_slot():
    # One slot per expert: the only real token of the row finds room although
    # three equal padding tokens precede it.
    block = sparse_block(capacity=Capacity(eval_factor=0.1))
    x = np.ones((1, 4, 8), "float32")
    mask = np.array([[False, False, False, True]])
    outputs = ops.convert_to_numpy(block(x, padding_mask=mask))
    np.testing.assert_array_equal(outputs[0, :3], x[0, :3])
    assert np.abs(outputs[0, 3] - x[0, 3]).max() > 1e-3


def test_the_residual_carries_dropped_tokens():
    block = sparse_block(capacity=Capacity(4.0, 0.1))
    x = np.ones((1, 4, 8), "float32")
    mask = np.ones((1, 4), bool)
    training = ops.convert_to_numpy(block(x, mask, training=True))
    outside = ops.convert_to_numpy(block(x, mask, training=False))
    # Equal tokens want the same expert: 4 slots in training, 1 outside.
    np.testing.assert_array_equal(outside[0, 1:], x[0, 1:])
    np.testing.assert_allclose(outside[0, 0], training[0, 0], rtol=1e-5)
    np.testing.assert_allclose(
        training[0, 1:], training[0, :1].repeat(3, 0), rtol=1e-5
    )


def test_config_round_trip_keeps_the_feed_forward_layer():
    block = sparse_block(capacity=Capacity(1.5))
    config = keras.saving.serialize_keras_object(block)
    copy = keras.saving.deserialize_keras_object(config)
    assert isinstance(copy.feed_forward, SparseMoE)
    assert copy.feed_forward.router.capacity == Capacity(1.5)
    assert copy.get_config() == block.get_config()


def test_unknown_dimensions_stay_unknown():
    assert sparse_block()(keras.Input((None, 8))).shape == (None, None, 8)
