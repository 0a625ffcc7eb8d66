"""Easy tokens cost less: fewer rows are computed, and the outputs are right."""

import numpy as np
import pytest
from keras import ops

from keras_moe import testing
from keras_moe.layers import CosineRouter
from keras_moe.layers import HierarchicalRouter
from keras_moe.layers import SparseMoE
from keras_moe.layers import TopPRouter
from keras_moe.layers import ZeroComputationRouter
from keras_moe.routing import CombineWeights

HIDDEN, TOKENS = 4, 40


def numpy(tensor):
    return np.array(ops.convert_to_numpy(ops.stop_gradient(tensor)))


def blocks(layer, tokens):
    """Every expert's outputs (E, T, H) for all tokens."""
    rows = np.tile(
        tokens.reshape(-1, HIDDEN), (layer.experts.num_experts, 1, 1)
    )
    return numpy(layer.experts(rows))


def test_a_sure_router_computes_fewer_rows(draw):
    logits = draw(1, TOKENS, HIDDEN)
    rows = []
    for sureness in (0.1, 1.0, 3.0, 10.0):
        router = TopPRouter(
            HIDDEN, HIDDEN, top_p=0.9, kernel_initializer="identity"
        )
        plan = router(sureness * logits)
        counts = numpy(plan.tokens_per_expert)
        probs = numpy(plan.scores.probs)[0]
        ordered = -np.sort(-probs, axis=-1)
        before = np.cumsum(ordered, axis=-1) - ordered
        assert np.sum(counts) == np.sum(before < 0.9)
        rows.append(np.sum(counts))
    assert rows == sorted(rows, reverse=True)
    assert rows[0] == HIDDEN * TOKENS
    assert rows[-1] < 1.3 * TOKENS


@pytest.mark.sweep
def test_a_layer_adds_up_the_experts_that_are_needed(draw):
    tokens = draw(2, TOKENS // 2, HIDDEN)
    router = TopPRouter(HIDDEN, 3, top_p=0.5, kernel_initializer="identity")
    layer = SparseMoE(HIDDEN, 3, router=router)
    outputs = numpy(layer(2 * tokens)).reshape(-1, HIDDEN)
    plan = router(2 * tokens)
    weights = numpy(plan.combine_weights).reshape(TOKENS, 3)
    indices = numpy(plan.expert_indices).reshape(TOKENS, 3)
    assert np.any(indices == HIDDEN)
    each = blocks(layer, 2 * tokens)
    expected = np.zeros((TOKENS, HIDDEN))
    for token, choice in np.argwhere(indices < HIDDEN):
        expert = indices[token, choice]
        expected[token] += weights[token, choice] * each[expert, token]
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.sweep
@pytest.mark.parametrize("strategy", ["sorted", "dense"])
def test_experts_that_compute_nothing_cost_no_rows(strategy, draw):
    tokens = draw(2, TOKENS // 2, HIDDEN)
    mask = np.arange(TOKENS).reshape(2, -1) % 5 > 0
    router = ZeroComputationRouter(
        HIDDEN, 2, num_identity=1, num_zero=1, kernel_initializer="identity"
    )
    layer = SparseMoE(HIDDEN, 3, router=router, strategy=strategy)
    layer.statistics.enabled = True
    assert layer.experts.num_experts == 2
    outputs = numpy(layer(tokens, padding_mask=mask, training=True))
    assert len(router.losses) == 2
    plan = router(tokens, padding_mask=mask)
    counts = numpy(plan.tokens_per_expert)
    assert np.sum(counts) == 2 * np.sum(mask)
    # What the bank computes.
    assert 0 < np.sum(counts[:, :2]) < np.sum(counts)
    indices = numpy(plan.expert_indices).reshape(TOKENS, 2)
    weights = numpy(plan.combine_weights).reshape(TOKENS, 2)
    each, flat = blocks(layer, tokens), tokens.reshape(TOKENS, HIDDEN)
    expected = np.zeros((TOKENS, HIDDEN))
    for token, choice in np.argwhere(indices < 3):
        expert, weight = indices[token, choice], weights[token, choice]
        output = flat[token] if expert == 2 else each[expert, token]
        expected[token] += weight * output
    np.testing.assert_allclose(
        outputs.reshape(TOKENS, HIDDEN), expected, rtol=1e-4, atol=1e-5
    )
    # All four are watched, and balanced: see the losses above.
    np.testing.assert_array_equal(
        layer.statistics.result()["tokens_per_expert"], counts.sum(0)
    )


def test_llama_4_weighs_what_the_experts_see(draw):
    tokens = draw(2, 6, HIDDEN)
    router = SparseMoE(HIDDEN, 3, top_k=2).router.copy(
        score_function="sigmoid",
        combine_weights=CombineWeights(normalize=False, apply_to="inputs"),
        kernel_initializer="identity",
    )
    layer = SparseMoE(HIDDEN, 3, router=router)
    outputs = numpy(layer(tokens)).reshape(-1, HIDDEN)
    gate_up, down = (numpy(w.value) for w in layer.experts.trainable_variables)
    expected = np.zeros((12, HIDDEN))
    for token, x in enumerate(tokens.reshape(-1, HIDDEN).astype("float64")):
        for expert in np.argsort(-x)[:2]:
            seen = x / (1 + np.exp(-x[expert]))
            kernels = gate_up[expert, :, :3], gate_up[expert, :, 3:]
            expected[token] += testing.expert(
                seen, *kernels, down[expert], "silu"
            )
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.once
@pytest.mark.parametrize(
    ("router_class", "arguments", "message"),
    [
        (TopPRouter, {"top_p": 0.0}, "`top_p` above 0"),
        (ZeroComputationRouter, {"num_zero": 4}, "one expert that computes"),
        (ZeroComputationRouter, {"num_zero": -1}, "`num_zero` to be 0 or"),
        (
            ZeroComputationRouter,
            {"combine_weights": CombineWeights(apply_to="inputs")},
            "Leave `apply_to` out",
        ),
        (CosineRouter, {"temperature": 0.001}, "Raise the temperature"),
        (CosineRouter, {"projection_dim": 0}, "`projection_dim` to be a"),
        (HierarchicalRouter, {"num_groups": 3}, "`num_groups` to divide"),
        (HierarchicalRouter, {"num_limited": 3}, "`num_limited` to divide"),
        (
            HierarchicalRouter,
            {"num_groups": 4, "num_limited": 1},
            "Choose fewer groups",
        ),
    ],
    ids=str,
)
def test_bad_arguments_are_refused(router_class, arguments, message):
    with pytest.raises(ValueError, match=message):
        router_class(4, **arguments)


@pytest.mark.once
def test_a_bank_that_does_not_fit_a_router_is_refused():
    experts = SparseMoE(4, 3).experts
    router = ZeroComputationRouter(4)
    with pytest.raises(ValueError, match="less 1 that compute nothing"):
        SparseMoE(4, router=router, experts=experts)
