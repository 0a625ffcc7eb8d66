"""Selection biases that are quantiles of the scores."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_moe.balancing import ExpertBias
from keras_moe.balancing import QuantileBias
from keras_moe.layers import SparseMoE
from keras_moe.layers import TopKRouter
from keras_moe.losses import quantile_bias_update
from keras_moe.routing import choose_top_k

EXPERTS, TOP_K = 4, 2
LOGITS = np.random.default_rng(0).normal(size=(3, 8, EXPERTS)) + [2, 1, 0, 0]
LOGITS = LOGITS.astype("float32")


def softmax(logits):
    scores = np.exp(logits - logits.max(-1, keepdims=True))
    return scores / scores.sum(-1, keepdims=True)


def balanced_bias(probs, bias, top_k=TOP_K):
    """One round, token by token and expert by expert."""
    gains = []
    for scores in probs:
        price = sorted(scores + bias, reverse=True)[top_k]
        gains.append(scores - price)
    place = len(probs) * top_k // EXPERTS
    new = [
        sorted(column, reverse=True)[place] for column in np.transpose(gains)
    ]
    return -np.array(new)


def loads(probs, bias):
    chosen = np.argsort(-(probs + bias), axis=-1)[..., :TOP_K]
    return np.bincount(chosen.ravel(), minlength=EXPERTS)


def bias_of(router):
    return np.array(ops.convert_to_numpy(router.expert_bias))


@pytest.mark.parametrize("padded", [False, True])
def test_the_step_leads_to_the_quantiles(padded):
    mask = np.arange(8) < np.array([[8], [5], [0]]) if padded else None
    bias = np.float32([0.1, -0.1, 0.0, 0.2])
    plan = choose_top_k(LOGITS, TOP_K, padding_mask=mask, expert_bias=bias)
    step = ops.convert_to_numpy(quantile_bias_update(plan, bias))
    probs = softmax(LOGITS[mask] if padded else LOGITS.reshape(-1, EXPERTS))
    # Differences of scores near 1.
    expected = balanced_bias(probs, bias)
    np.testing.assert_allclose(bias + step, expected, atol=1e-6)


def test_a_few_steps_balance_the_load_of_a_batch():
    router = TopKRouter(
        EXPERTS,
        TOP_K,
        balancing=QuantileBias(),
        kernel_initializer="identity",
    )
    probs, bias = softmax(LOGITS.reshape(-1, EXPERTS)), np.zeros(EXPERTS)
    before = loads(probs, bias)
    for _ in range(6):
        router(LOGITS, training=True)
        bias = balanced_bias(probs, bias)
        np.testing.assert_allclose(bias_of(router), bias, atol=1e-5)
    # 24 tokens with two experts each of four. Each bias leaves a token
    # undecided, so that rounding decides.
    assert np.abs(before - 12).max() > 6
    assert np.abs(loads(probs, bias_of(router)) - 12).max() < EXPERTS


def test_all_experts_and_no_token_leave_the_bias():
    bias = np.float32([0.1, -0.1, 0.0, 0.2])
    everything = choose_top_k(LOGITS, EXPERTS)
    nothing = choose_top_k(LOGITS, 2, padding_mask=np.zeros((3, 8), bool))
    for plan in (everything, nothing):
        step = ops.convert_to_numpy(quantile_bias_update(plan, bias))
        np.testing.assert_array_equal(step, np.zeros(EXPERTS))


@pytest.mark.sweep(first=1)
@pytest.mark.parametrize("rematerialize", [True, False])
def test_the_bias_moves_once_per_optimizer_step(rematerialize, backend):
    router = TopKRouter(EXPERTS, TOP_K, balancing=QuantileBias(0.5))
    with keras.RematScope(mode="full" if rematerialize else None):
        inputs = keras.Input((8, EXPERTS))
        outputs = SparseMoE(EXPERTS, 4, router=router)(inputs)
    model = keras.Model(inputs, outputs)
    router.kernel.assign(np.eye(EXPERTS))
    model.compile(
        keras.optimizers.SGD(0.0, gradient_accumulation_steps=2),
        "mse",
        jit_compile=backend == "jax",
    )
    bias = np.zeros(EXPERTS)
    for _ in range(2):
        steps = []
        for batch in (LOGITS[:1], LOGITS[1:2]):
            np.testing.assert_allclose(bias_of(router), bias, atol=1e-6)
            model.train_on_batch(batch, batch)
            model.evaluate(batch, batch, verbose=0)
            steps.append(balanced_bias(softmax(batch[0]), bias) - bias)
        bias = bias + 0.5 * np.mean(steps, axis=0)
    np.testing.assert_allclose(bias_of(router), bias, atol=1e-6)
    assert np.abs(bias).max() > 0.01


def test_a_micro_batch_without_a_token_has_no_say():
    rule = QuantileBias()
    sums = ops.convert_to_tensor([0.2, -0.2, 0.4, 0.0, 2.0], "float32")
    np.testing.assert_allclose(
        ops.convert_to_numpy(rule.step(sums)), [0.1, -0.1, 0.2, 0.0], rtol=1e-6
    )
    np.testing.assert_array_equal(
        ops.convert_to_numpy(rule.step(0.0 * sums)), np.zeros(4)
    )


def test_two_rules_for_one_bias_are_refused():
    router = TopKRouter(EXPERTS, balancing=[ExpertBias(), QuantileBias()])
    with pytest.raises(ValueError, match="one balancing rule that") as error:
        router.build((None, EXPERTS))
    assert "Leave one out" in str(error.value)
