"""Tests of the T5 encoder block. The models' oracle covers its numbers."""

import keras
import numpy as np
from keras import ops

from keras_moe.blocks.t5_encoder_block import T5EncoderBlock
from keras_moe.layers import FeedForward
from keras_moe.layers import SparseMoE


def create_block(**arguments):
    return T5EncoderBlock(2, 3, FeedForward(6), **arguments)


def test_padding_does_not_reach_real_tokens():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 5, 8)).astype("float32")
    changed = x.copy()
    changed[:, 3:] = 100.0
    mask = np.array([[True, True, True, False, False]] * 2)
    block = create_block()
    outputs = ops.convert_to_numpy(block(x, padding_mask=mask))
    others = ops.convert_to_numpy(block(changed, padding_mask=mask))
    np.testing.assert_allclose(outputs[:, :3], others[:, :3], rtol=1e-5)
    unmasked = ops.convert_to_numpy(block(changed))
    assert not np.allclose(unmasked[:, :3], outputs[:, :3])


def test_rows_do_not_see_each_other():
    x = np.random.default_rng(0).normal(size=(2, 5, 8)).astype("float32")
    spoiled = x.copy()
    spoiled[1, 2] = np.nan
    block = create_block()
    outputs = ops.convert_to_numpy(block(x))
    others = ops.convert_to_numpy(block(spoiled))
    np.testing.assert_allclose(outputs[0], others[0], rtol=1e-5)
    assert np.isnan(others[1]).all()


def test_config_round_trip_and_unknown_dimensions():
    block = create_block(dropout=0.3, layer_norm_epsilon=1e-5, name="block")
    assert block(keras.Input((None, 8))).shape == (None, None, 8)
    config = keras.saving.serialize_keras_object(block)
    copy = keras.saving.deserialize_keras_object(config)
    assert copy.get_config() == block.get_config()


def test_a_sparse_feed_forward_is_restored():
    block = T5EncoderBlock(2, 3, SparseMoE(4, 6, top_k=1))
    config = keras.saving.serialize_keras_object(block)
    copy = keras.saving.deserialize_keras_object(config)
    assert copy.get_config() == block.get_config()
    assert isinstance(copy.feed_forward_block.feed_forward, SparseMoE)


def test_an_extra_feed_forward_comes_last_and_survives_the_config():
    block = T5EncoderBlock(
        2, 3, FeedForward(6), extra_feed_forward=FeedForward(5)
    )
    x = np.random.default_rng(0).normal(size=(2, 5, 8)).astype("float32")
    outputs = block(x)
    extra = block.extra_feed_forward_block
    block.extra_feed_forward_block = None
    np.testing.assert_allclose(
        ops.convert_to_numpy(ops.stop_gradient(outputs)),
        ops.convert_to_numpy(ops.stop_gradient(extra(block(x)))),
        rtol=1e-5,
        atol=1e-6,
    )
    block.extra_feed_forward_block = extra
    revived = T5EncoderBlock.from_config(block.get_config())
    assert revived.get_config() == block.get_config()
    layer = revived.extra_feed_forward_block.feed_forward
    assert layer.intermediate_dim == 5
