"""SparseMixer: draws, weights of a third, and the gradient of the whole."""

import numpy as np
import pytest
from keras import ops

from keras_moe.layers import SparseMixerRouter

TOKENS, EXPERTS = 2000, 5


def softmax(logits):
    probs = np.exp(logits - np.max(logits, -1, keepdims=True))
    return probs / np.sum(probs, -1, keepdims=True)


def gates_of(logits, ruled_out, epsilon):
    """Softmax over the experts close to the best that is left."""
    left = np.where(ruled_out, -np.inf, logits)
    peak = left.max(-1, keepdims=True)
    scale = np.maximum(np.abs(logits), peak)
    return softmax(
        np.where((peak - left) / scale <= 2 * epsilon, left, -np.inf)
    )


def test_draws_and_their_gradients_are_those_of_the_estimator(draw, vjp):
    router = SparseMixerRouter(
        EXPERTS,
        epsilon=0.3,
        kernel_initializer="identity",
        balancing=None,
        seed=1,
    )
    logits = 1 + 0.3 * draw(TOKENS, EXPERTS)
    router.build(logits.shape)
    cotangent = draw(TOKENS, 2, seed=2)

    def both(inputs):
        plan = router(inputs, training=True)
        indices = ops.cast(plan.expert_indices, "float32")
        return ops.concatenate([plan.combine_weights, indices], axis=-1)

    value, (gradient,) = vjp(
        both, [logits], np.concatenate([cotangent, 0 * cotangent], -1)
    )
    weights, indices = value[:, :2], value[:, 2:].astype(int)
    assert np.all(indices[:, 0] != indices[:, 1])
    ruled_out = np.zeros((TOKENS, EXPERTS), bool)
    expected = np.zeros((TOKENS, EXPERTS))
    for choice in range(2):
        gates = gates_of(logits.astype("float64"), ruled_out, 0.3)
        index = indices[:, choice, None]
        gate = np.take_along_axis(gates, index, -1)[:, 0]
        # The best expert has its gate; another one a third of it, or all.
        share = weights[:, choice] / gate
        is_best = index[:, 0] == gates.argmax(-1)
        np.testing.assert_allclose(share[is_best], 1.0, rtol=1e-4)
        is_third = share < 0.5
        np.testing.assert_allclose(share[is_third], 1 / 3, rtol=1e-4)
        np.testing.assert_allclose(share[~is_third], 1.0, rtol=1e-4)
        # About 1,000 draws of others: a standard error of 0.014.
        assert np.sum(~is_best) > 500
        assert np.mean(is_third[~is_best]) == pytest.approx(0.75, abs=0.06)
        # Drawn from the gates: a standard error of 0.011 at most.
        drawn = np.mean(index == np.arange(EXPERTS), axis=0)
        np.testing.assert_allclose(drawn, gates.mean(0), atol=0.05)
        # The gradient of the whole gate: g * gate * (one_hot - gates).
        one_hot = index == np.arange(EXPERTS)
        scale = (cotangent[:, choice] * gate)[:, None]
        expected += scale * (one_hot - gates)
        ruled_out |= one_hot
    np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.once
def test_weights_are_those_of_transformers(draw):
    torch = pytest.importorskip("torch")
    phimoe = pytest.importorskip("transformers.models.phimoe.modeling_phimoe")
    logits = 1 + 0.3 * draw(50, EXPERTS)
    router = SparseMixerRouter(EXPERTS, kernel_initializer="identity")
    plan = router(logits)
    weights, indices = phimoe.sparsemixer(
        torch.tensor(logits), jitter_eps=0.01, training=False
    )
    np.testing.assert_array_equal(
        ops.convert_to_numpy(plan.expert_indices), indices
    )
    np.testing.assert_allclose(
        ops.convert_to_numpy(plan.combine_weights), weights, rtol=1e-5
    )
