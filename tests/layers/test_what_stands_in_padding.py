"""Whatever stands in padding reaches nothing: every layer and block."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_moe import metrics
from keras_moe.blocks import DecoderBlock
from keras_moe.blocks import GroupedQueryAttention
from keras_moe.blocks import MultiHeadLatentAttention
from keras_moe.blocks import T5Attention
from keras_moe.blocks import T5DecoderBlock
from keras_moe.blocks import T5EncoderBlock
from keras_moe.layers import FeedForward
from keras_moe.layers import SharedExpertMoE
from keras_moe.layers import SparseMoE
from keras_moe.layers import TopKRouter
from keras_moe.losses import load_balancing_loss
from keras_moe.losses import pooled_load_balancing_loss
from keras_moe.losses import router_z_loss
from keras_moe.routing import Capacity
from keras_moe.routing import RouterScores
from keras_moe.routing import TokenChoice
from keras_moe.routing import assign_slots
from keras_moe.routing import choose_top_k
from keras_moe.routing import count_tokens
from keras_moe.routing import hide_padding

MASK = np.array([[True] * 4 + [False] * 2, [True, True] + [False] * 4])
RUBBISH = np.array([np.nan, np.inf, -np.inf, 3e38, 1e18, -1e30], "float32")


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def fill_padding(values, rubbish):
    """Put a number of the rubbish, or zeros, in each padding position."""
    values = values.copy()
    values[~MASK] = RUBBISH[:, None] if rubbish else 0.0
    return values


class Masked(keras.layers.Layer):
    """Hands a layer the mask under the layer's own names."""

    def __init__(self, layer, *names, context=False):
        super().__init__()
        self.layer = layer
        self.names = names
        self.context = context

    def build(self, inputs_shape):
        self.layer.build(inputs_shape)

    def call(self, inputs, padding_mask=None, training=None):
        arguments = (inputs, inputs) if self.context else (inputs,)
        masks = {name: padding_mask for name in self.names}
        return self.layer(*arguments, **masks)


class Weights(keras.layers.Layer):
    """A router's combine weights alone, which are a tensor."""

    def __init__(self, router):
        super().__init__()
        self.router = router

    def build(self, inputs_shape):
        self.router.build(inputs_shape)

    def call(self, inputs, padding_mask=None, training=None):
        plan = self.router(inputs, padding_mask, training=training)
        return plan.combine_weights


def shared():
    return SharedExpertMoE(4, 8, use_shared_expert_gate=True)


LAYERS = {
    "shared": shared,
    "decoder block": lambda: DecoderBlock(
        GroupedQueryAttention(2, 1), FeedForward(8), norm="layer"
    ),
    "T5 decoder block": lambda: Masked(
        T5DecoderBlock(2, 4, FeedForward(8)),
        "padding_mask",
        "encoder_padding_mask",
        context=True,
    ),
}
MORE_LAYERS = {
    "router": lambda: Weights(TopKRouter(4, 2, jitter_noise=0.1)),
    "feed-forward": lambda: Masked(FeedForward(8, gated=False), "mask"),
    "sorted": lambda: SparseMoE(4, 8),
    "slots": lambda: SparseMoE(
        4, 8, strategy="slots", capacity=Capacity(0.8, priority="score")
    ),
    "dense": lambda: SparseMoE(4, 8, strategy="dense"),
    "grouped-query": lambda: Masked(
        GroupedQueryAttention(2, 1, query_key_norm="head", soft_cap=5.0),
        "padding_mask",
    ),
    "latent": lambda: Masked(
        MultiHeadLatentAttention(2, 4, 4, 2, 4), "padding_mask"
    ),
    "T5 attention": lambda: Masked(T5Attention(2, 4), "mask"),
    "sparse block": lambda: DecoderBlock(
        MultiHeadLatentAttention(2, 4, 4, 2, 4),
        shared(),
        sandwich_norms=True,
        extra_feed_forward=FeedForward(8),
    ),
    "T5 encoder block": lambda: Masked(
        T5EncoderBlock(2, 4, SparseMoE(4, 8)), "padding_mask"
    ),
}


@pytest.mark.sweep(first=2)
@pytest.mark.parametrize(
    "name",
    [
        *LAYERS,
        *(
            pytest.param(name, marks=pytest.mark.exhaustive)
            for name in MORE_LAYERS
        ),
    ],
)
def test_padding_reaches_no_output_loss_or_gradient(
    name, make_step, form, fill_weights
):
    keras.utils.set_random_seed(0)
    layer = {**LAYERS, **MORE_LAYERS}[name]()
    inputs = draw(2, 6, 8)
    layer.build(inputs.shape)
    fill_weights(layer)
    if name == "router":
        layer.router.jitter_noise = 0.0
    cotangent = draw(2, 6, 2 if name == "router" else 8, seed=1)
    cotangent[~MASK] = 0.0
    step = make_step(layer, form)
    expected = step(fill_padding(inputs, rubbish=False), MASK, cotangent)
    actual = step(fill_padding(inputs, rubbish=True), MASK, cotangent)
    # The same program of the same numbers.
    np.testing.assert_allclose(
        actual.outputs[MASK], expected.outputs[MASK], rtol=1e-6, atol=1e-6
    )
    np.testing.assert_allclose(actual.losses, expected.losses, rtol=1e-6)
    for outputs in (actual.outputs, expected.outputs):
        assert np.all(np.isfinite(outputs))
    for variable, gradient in actual.gradients.items():
        wanted = expected.gradients[variable]
        assert np.all(np.isfinite(wanted)), variable
        np.testing.assert_allclose(
            gradient, wanted, rtol=1e-6, atol=1e-6, err_msg=variable
        )
    assert not np.any(actual.gradients["inputs"][~MASK])


def plan_of(logits):
    """What becomes of a router's plan in which nothing is masked."""
    probs = ops.softmax(logits, axis=-1)
    plan = TokenChoice(
        expert_indices=np.tile(np.int32([0, 2]), (2, 6, 1)),
        combine_weights=probs[..., :2],
        scores=RouterScores(logits, probs, ops.ones(MASK.shape, "bool")),
    )
    return count_tokens(hide_padding(plan, MASK, 4), 4)


@pytest.mark.sweep(first=1)
@pytest.mark.parametrize(
    "function",
    [
        load_balancing_loss,
        router_z_loss,
        lambda plan: pooled_load_balancing_loss([plan, plan]),
        metrics.router_entropy,
    ],
)
def test_losses_and_metrics_do_not_look_at_padding(function, vjp):
    logits = draw(2, 6, 4)
    results = [
        vjp(
            lambda logits: function(plan_of(logits)),
            (fill_padding(logits, rubbish),),
            np.ones(()),
        )
        for rubbish in (False, True)
    ]
    (expected, (wanted,)), (actual, (gradient,)) = results
    np.testing.assert_allclose(actual, expected, rtol=1e-6)
    np.testing.assert_allclose(gradient[MASK], wanted[MASK], rtol=1e-6)


def test_a_plan_is_the_same_whatever_the_logits_of_padding(vjp):
    logits = draw(2, 6, 4)

    def weights(logits):
        return choose_top_k(logits, 2, padding_mask=MASK).combine_weights

    expected, actual = (
        vjp(weights, (fill_padding(logits, rubbish),), draw(2, 6, 2))
        for rubbish in (False, True)
    )
    np.testing.assert_allclose(actual[0], expected[0], rtol=1e-6)
    np.testing.assert_allclose(actual[1][0], expected[1][0], rtol=1e-6)


def test_padding_takes_no_slot_whatever_its_score():
    plans = [
        plan_of(ops.convert_to_tensor(fill_padding(draw(2, 6, 4), rubbish)))
        for rubbish in (False, True)
    ]
    expected, actual = (
        ops.convert_to_numpy(assign_slots(plan, 4, 2, "score").slots)
        for plan in plans
    )
    np.testing.assert_array_equal(actual[MASK], expected[MASK])
