"""Padding, as an argument and through Keras masking."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_moe.layers import SharedExpertMoE
from keras_moe.layers import SparseMoE
from keras_moe.layers import TopKRouter
from keras_moe.routing import Capacity

TOKEN_IDS = np.array([[3, 1, 2, 5, 4, 0, 0], [5, 0, 4, 4, 1, 2, 3]], "int32")
MASK = TOKEN_IDS != 0


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def numpy(tensor):
    return ops.convert_to_numpy(ops.stop_gradient(tensor))


@pytest.mark.sweep(first=1)
@pytest.mark.parametrize(
    ("strategy", "dtype"),
    [("sorted", "bool"), ("slots", "int32"), ("dense", "float32")],
)
def test_padding_gets_exactly_zero(strategy, dtype):
    layer = SparseMoE(
        5, 4, strategy=strategy, capacity=Capacity(eval_factor=9.0)
    )
    inputs = draw(2, 7, 6)
    outputs = numpy(layer(inputs, padding_mask=MASK.astype(dtype)))
    assert np.all(outputs[~MASK] == 0.0)
    # What is real is as without a mask.
    np.testing.assert_allclose(
        outputs[MASK], numpy(layer(inputs))[MASK], rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("strategy", ["sorted", "slots", "dense"])
def test_nan_in_padding_stays_there(strategy):
    layer = SparseMoE(
        5, 4, strategy=strategy, capacity=Capacity(eval_factor=9.0)
    )
    inputs = draw(2, 7, 6)
    expected = numpy(layer(inputs, padding_mask=MASK))
    inputs[~MASK] = np.nan
    np.testing.assert_array_equal(
        numpy(layer(inputs, padding_mask=MASK)), expected
    )


class Embedded:
    """A layer behind an embedding, with and without Keras masking."""

    def __init__(self, layer):
        self.layer = layer
        self.masked = keras.layers.Embedding(6, 6, mask_zero=True)
        self.plain = keras.layers.Embedding(6, 6)
        for embedding in (self.masked, self.plain):
            embedding.build()
            embedding.embeddings.assign(draw(6, 6))


@pytest.mark.parametrize("layer_class", [SparseMoE, SharedExpertMoE])
def test_a_keras_mask_and_the_argument_agree(layer_class):
    embedded = Embedded(layer_class(5, 4, capacity=Capacity(eval_factor=0.4)))
    by_argument = embedded.layer(
        embedded.plain(TOKEN_IDS), padding_mask=MASK, training=False
    )
    by_keras = embedded.layer(embedded.masked(TOKEN_IDS), training=False)
    without = embedded.layer(embedded.plain(TOKEN_IDS), training=False)
    np.testing.assert_allclose(numpy(by_keras), numpy(by_argument), rtol=1e-6)
    # Padding takes slots without a mask.
    assert np.max(np.abs(numpy(without) - numpy(by_keras))[MASK]) > 1e-3


@pytest.mark.parametrize("layer_class", [SparseMoE, SharedExpertMoE])
def test_a_keras_mask_and_the_argument_compose(layer_class):
    embedded = Embedded(layer_class(5, 4, capacity=Capacity(eval_factor=0.4)))
    also_hidden = np.ones_like(MASK)
    also_hidden[1, 2:4] = False
    both = embedded.layer(
        embedded.masked(TOKEN_IDS), padding_mask=also_hidden, training=False
    )
    expected = embedded.layer(
        embedded.plain(TOKEN_IDS),
        padding_mask=MASK & also_hidden,
        training=False,
    )
    np.testing.assert_allclose(numpy(both), numpy(expected), rtol=1e-6)


def test_masks_compose_in_a_functional_model_and_go_on_downstream():
    embedded = Embedded(SparseMoE(5, 4, capacity=Capacity(eval_factor=0.4)))
    token_ids = keras.Input((7,), dtype="int32")
    padding_mask = keras.Input((7,), dtype="bool")
    hidden = embedded.layer(
        embedded.masked(token_ids), padding_mask=padding_mask
    )
    # Averages over what the Keras mask calls real.
    pooled = keras.layers.GlobalAveragePooling1D()(hidden)
    model = keras.Model([token_ids, padding_mask], [hidden, pooled])
    also_hidden = np.ones_like(MASK)
    also_hidden[0, 0] = False
    outputs, means = model.predict([TOKEN_IDS, also_hidden], verbose=0)
    expected = embedded.layer(
        embedded.plain(TOKEN_IDS),
        padding_mask=MASK & also_hidden,
        training=False,
    )
    np.testing.assert_allclose(outputs, numpy(expected), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        means,
        outputs.sum(axis=1) / MASK.sum(axis=1, keepdims=True),
        rtol=1e-5,
        atol=1e-6,
    )


def test_a_mask_that_hides_every_token_trains_without_nan(
    make_step, form, fill_weights
):
    layer = SparseMoE(5, 4)
    inputs = draw(2, 7, 6)
    layer.build(inputs.shape)
    fill_weights(layer)
    step = make_step(layer, form)(
        inputs, np.zeros_like(MASK), np.ones_like(inputs)
    )
    assert np.all(step.outputs == 0.0)
    assert step.losses == [0.0, 0.0]
    for name, gradient in step.gradients.items():
        assert gradient is not None, name
        assert np.all(gradient == 0.0), name


def test_a_router_by_itself_uses_a_keras_mask():
    embedded = Embedded(TopKRouter(5, 2))
    router = embedded.layer
    by_argument = router(
        embedded.plain(TOKEN_IDS), padding_mask=MASK, training=True
    )
    expected = [float(numpy(loss)) for loss in router.losses]
    by_keras = router(embedded.masked(TOKEN_IDS), training=True)
    losses = [float(numpy(loss)) for loss in router.losses]
    np.testing.assert_array_equal(
        ops.convert_to_numpy(by_keras.scores.padding_mask),
        ops.convert_to_numpy(by_argument.scores.padding_mask),
    )
    np.testing.assert_allclose(losses, expected, rtol=1e-6)
