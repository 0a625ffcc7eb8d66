"""Tests of the T5 decoder block. The models' oracle covers its numbers."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_moe.blocks.t5_decoder_block import T5DecoderBlock
from keras_moe.layers import FeedForward


@pytest.fixture
def case():
    """Return a built block, its inputs, encoder outputs, bias and mask."""
    rng = np.random.default_rng(0)
    block = create_block()
    block.build((2, 5, 8))
    for variable in block.trainable_variables:
        variable.assign(0.5 * rng.normal(size=variable.shape))
    x = rng.normal(size=(2, 5, 8)).astype("float32")
    encoded = rng.normal(size=(2, 4, 8)).astype("float32")
    bias = rng.normal(size=(1, 2, 5, 5)).astype("float32")
    encoder_mask = np.array([[True] * 4, [True, True, False, False]])
    return block, x, encoded, bias, encoder_mask


def create_block(**arguments):
    return T5DecoderBlock(2, 3, FeedForward(6), **arguments)


@pytest.mark.sweep
def test_the_future_and_encoder_padding_are_hidden(case):
    block, x, encoded, bias, encoder_mask = case
    changed = x.copy()
    changed[:, 3:] = 9.0
    changed_encoded = encoded.copy()
    changed_encoded[1, 2:] = 9.0
    outputs = block(x, encoded, bias, encoder_padding_mask=encoder_mask)
    others = block(
        changed, changed_encoded, bias, encoder_padding_mask=encoder_mask
    )
    outputs = ops.convert_to_numpy(outputs)
    others = ops.convert_to_numpy(others)
    np.testing.assert_allclose(outputs[:, :3], others[:, :3], rtol=1e-5)
    assert not np.allclose(outputs[:, 3:], others[:, 3:])


def test_the_past_and_the_encoder_are_seen(case):
    block, x, encoded, bias, _ = case
    outputs = ops.convert_to_numpy(block(x, encoded, bias))
    changed = x.copy()
    changed[:, 0] = 9.0
    others = ops.convert_to_numpy(block(changed, encoded, bias))
    assert (np.abs(outputs - others).max(-1) > 1e-4).all()
    others = ops.convert_to_numpy(block(x, encoded[:, ::-1] * 2.0, bias))
    assert (np.abs(outputs - others).max(-1) > 1e-4).all()


@pytest.mark.sweep
def test_cached_steps_equal_one_pass(case):
    block, x, encoded, bias, encoder_mask = case
    whole = block(x, encoded, bias, encoder_padding_mask=encoder_mask)
    # What an empty cache holds must not matter.
    cache = (ops.full((2, 5, 2, 3), 7.0), ops.full((2, 5, 2, 3), 7.0))
    x, encoded, bias, encoder_mask = map(
        ops.convert_to_tensor, (x, encoded, bias, encoder_mask)
    )
    cross_cache = block.cross_attention.project_keys_values(encoded)
    pieces = []
    for start, stop in [(0, 2), (2, 3), (3, 5)]:
        piece, cache = block.call_with_cache(
            x[:, start:stop],
            cache,
            cross_cache,
            start,
            position_bias=bias[:, :, start:stop],
            encoder_padding_mask=encoder_mask,
        )
        pieces.append(ops.convert_to_numpy(piece))
    np.testing.assert_allclose(
        np.concatenate(pieces, axis=1),
        ops.convert_to_numpy(whole),
        rtol=1e-4,
        atol=1e-5,
    )


def test_left_padding_is_hidden(case):
    block, x, encoded, bias, _ = case
    mask = np.array([[False, False, True, True, True]] * 2)
    changed = x.copy()
    changed[:, :2] = 9.0
    outputs = ops.convert_to_numpy(block(x, encoded, bias, mask))
    others = ops.convert_to_numpy(block(changed, encoded, bias, mask))
    np.testing.assert_allclose(outputs[:, 2:], others[:, 2:], rtol=1e-5)


def test_config_round_trip_and_unknown_dimensions():
    block = create_block(dropout=0.3, layer_norm_epsilon=1e-5, name="block")
    inputs, encoded = keras.Input((None, 8)), keras.Input((None, 8))
    assert block(inputs, encoded).shape == (None, None, 8)
    config = keras.saving.serialize_keras_object(block)
    copy = keras.saving.deserialize_keras_object(config)
    assert copy.get_config() == block.get_config()
