"""A Keras mask does what the `padding_mask` argument does, in every block.

Warnings are errors here: Keras warns where a layer loses a mask.
"""

import keras
import numpy as np
import pytest
from keras import ops

from keras_moe.blocks import DecoderBlock
from keras_moe.blocks import GroupedQueryAttention
from keras_moe.blocks import MultiHeadLatentAttention
from keras_moe.blocks import RelativePositionBias
from keras_moe.blocks import T5DecoderBlock
from keras_moe.blocks import T5EncoderBlock
from keras_moe.layers import FeedForward
from keras_moe.layers import SparseMoE

# Padding in front: a causal attention would otherwise not see it.
MASK = np.array([[0, 0, 1, 1, 1], [1, 0, 1, 1, 1]], bool)
ALSO_HIDDEN = np.array([[1, 1, 1, 0, 1], [1, 1, 1, 1, 1]], bool)
HIDDEN = 8


def latent_attention():
    return MultiHeadLatentAttention(2, 4, 4, 2, 4, query_latent_dim=4)


class MaskedExperts(keras.layers.Layer):
    """A part of one's own that takes its mask as Keras' layers do."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.experts = SparseMoE(4, 4)
        self.supports_masking = True

    def build(self, inputs_shape):
        self.experts.build(inputs_shape)

    def call(self, inputs, mask=None):
        return self.experts(inputs, padding_mask=mask)


LAYERS = {
    "grouped query": lambda: GroupedQueryAttention(2, 1, query_key_norm="head"),
    "latent": latent_attention,
    "decoder": lambda: DecoderBlock(
        latent_attention(),
        SparseMoE(4, 4),
        norm="layer",
        extra_feed_forward=SparseMoE(4, 4),
    ),
    "dense decoder": lambda: DecoderBlock(
        GroupedQueryAttention(2, 1), FeedForward(4), sandwich_norms=True
    ),
    "own part in a decoder": lambda: DecoderBlock(
        GroupedQueryAttention(2, 1), MaskedExperts()
    ),
    "encoder": lambda: T5EncoderBlock(2, 4, SparseMoE(4, 4)),
}


def masked(x, mask):
    """Attach a Keras mask, as an `Embedding(mask_zero=True)` does."""
    return keras.layers.Masking()(np.where(mask[..., None], x, 0.0))


@pytest.fixture
def x():
    x = np.random.default_rng(0).normal(size=(2, 5, HIDDEN))
    return np.where(MASK[..., None], x, 0.0).astype("float32")


def run(layer, *args, **kwargs):
    outputs = layer(*args, training=True, **kwargs)
    losses = [float(ops.stop_gradient(loss)) for loss in layer.losses]
    return ops.convert_to_numpy(ops.stop_gradient(outputs)), losses


@pytest.mark.sweep(first=1)
@pytest.mark.parametrize("kind", LAYERS)
def test_a_keras_mask_is_the_padding_mask(kind, x):
    layer = LAYERS[kind]()
    expected, expected_losses = run(layer, x, padding_mask=MASK)
    outputs, losses = run(layer, masked(x, MASK))
    unmasked, other_losses = run(layer, x)
    np.testing.assert_allclose(outputs[MASK], expected[MASK], atol=1e-6)
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-6)
    assert np.max(np.abs(unmasked - expected)[MASK]) > 1e-3
    if losses:
        assert np.max(np.abs(np.subtract(other_losses, losses))) > 1e-6


@pytest.mark.sweep(first=1)
@pytest.mark.parametrize("kind", LAYERS)
def test_both_masks_at_once_are_joined(kind, x):
    layer = LAYERS[kind]()
    both = MASK & ALSO_HIDDEN
    expected, expected_losses = run(layer, x, padding_mask=both)
    outputs, losses = run(layer, masked(x, MASK), padding_mask=ALSO_HIDDEN)
    np.testing.assert_allclose(outputs[both], expected[both], atol=1e-6)
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-6)


@pytest.mark.sweep
@pytest.mark.parametrize("kind", ["grouped query", "decoder"])
def test_a_keras_mask_counts_under_a_remat_scope(kind, x):
    with keras.RematScope(mode="full"):
        layer = LAYERS[kind]()
    expected, _ = run(layer, x, padding_mask=MASK)
    outputs, _ = run(layer, masked(x, MASK))
    np.testing.assert_allclose(outputs[MASK], expected[MASK], atol=1e-6)


@pytest.mark.sweep
def test_a_t5_decoder_uses_the_masks_of_both_inputs(x):
    layer = T5DecoderBlock(2, 4, SparseMoE(4, 4))
    bias = RelativePositionBias(2, bidirectional=False)
    encoded = np.where(ALSO_HIDDEN[..., None], x + 1.0, 0.0)
    expected, expected_losses = run(
        layer,
        x,
        encoded,
        bias(x, x),
        padding_mask=MASK,
        encoder_padding_mask=ALSO_HIDDEN,
    )
    inputs = masked(x, MASK)
    outputs, losses = run(
        layer, inputs, masked(encoded, ALSO_HIDDEN), bias(inputs, inputs)
    )
    np.testing.assert_allclose(outputs[MASK], expected[MASK], atol=1e-6)
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-6)
    unmasked, _ = run(layer, x, encoded, bias(x, x))
    assert np.max(np.abs(unmasked - expected)[MASK]) > 1e-3


def test_the_mask_goes_on_behind_a_block(x):
    embedding = keras.layers.Embedding(6, HIDDEN, mask_zero=True)
    inputs = keras.Input((5,), dtype="int32")
    hidden = LAYERS["dense decoder"]()(embedding(inputs))
    model = keras.Model(
        inputs, [hidden, keras.layers.GlobalAveragePooling1D()(hidden)]
    )
    hidden, means = model.predict(np.where(MASK, 3, 0), verbose=0)
    kept = np.where(MASK[..., None], hidden, 0.0)
    np.testing.assert_allclose(
        means, kept.sum(1) / MASK.sum(1, keepdims=True), atol=1e-6
    )
