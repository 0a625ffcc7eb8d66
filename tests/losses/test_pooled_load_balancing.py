"""The load-balancing loss of all layers against that of transformers."""

import numpy as np
import pytest
import torch
from keras import ops
from transformers.models.mixtral import modeling_mixtral

from keras_moe.losses import load_balancing_loss
from keras_moe.losses import pooled_load_balancing_loss
from keras_moe.routing import CombineWeights
from keras_moe.routing import ExpertGroups
from keras_moe.routing import assign_slots
from keras_moe.routing import choose_top_k

NUM_EXPERTS = 6
MASKS = {
    "none": None,
    "padding": np.arange(7) < np.array([[7], [4], [0]]),
    "nothing real": np.zeros((3, 7), bool),
}


def logits_of_layers():
    rng = np.random.default_rng(0)
    shape = (3, 7, NUM_EXPERTS)
    return [
        rng.normal(scale=2.0, size=shape).astype("float32") for _ in range(4)
    ]


def reference(layers, top_k, mask):
    """Return transformers' loss and its gradients."""
    tensors = [torch.tensor(each, requires_grad=True) for each in layers]
    loss = modeling_mixtral.load_balancing_loss_func(
        tuple(each.reshape(-1, NUM_EXPERTS) for each in tensors),
        NUM_EXPERTS,
        top_k,
        None if mask is None else torch.tensor(mask),
    )
    gradients = torch.autograd.grad(loss, tensors)
    return float(loss.detach()), [each.numpy() for each in gradients]


# Scores, biases and groups change the routing, not this loss.
@pytest.mark.sweep(first=3)
@pytest.mark.parametrize(
    "routing",
    [
        {},
        {
            "score_function": "sigmoid",
            "combine_weights": CombineWeights(scale=2.5),
        },
        {
            "score_function": "sigmoid",
            "expert_bias": ops.linspace(-1.0, 1.0, NUM_EXPERTS),
            "expert_groups": ExpertGroups(3, 2),
        },
    ],
    ids=["softmax", "sigmoid", "biased groups"],
)
@pytest.mark.parametrize("mask", ["none", "padding"])
@pytest.mark.parametrize("top_k", [1, 3])
def test_loss_and_gradients_equal_transformers(top_k, mask, routing, vjp):
    layers, mask = logits_of_layers(), MASKS[mask]

    def loss_of(*layers):
        return pooled_load_balancing_loss(
            [
                choose_top_k(each, top_k, padding_mask=mask, **routing)
                for each in layers
            ]
        )

    loss, gradients = vjp(loss_of, layers, np.float32(1.0))
    expected, expected_gradients = reference(layers, top_k, mask)
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    for actual, each in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(actual, each, rtol=1e-4, atol=1e-7)
        assert np.abs(actual).max() > 1e-4


@pytest.mark.parametrize("top_k", [1, 2, 4])
def test_a_balanced_load_costs_k(top_k):
    # Token t prefers expert t, then t + 1, ...
    first = np.log([0.4, 0.3, 0.2, 0.1]).astype("float32")
    logits = np.stack([np.roll(first, token) for token in range(4)])
    # Each layer has half of the tokens: only together are they balanced.
    plans = [choose_top_k(logits[:2], top_k), choose_top_k(logits[2:], top_k)]
    assert float(pooled_load_balancing_loss(plans)) == pytest.approx(top_k)
    if top_k < 4:
        assert float(load_balancing_loss(plans[0])) > 1.05


def test_one_layer_costs_k_times_its_own_loss():
    plan = choose_top_k(logits_of_layers()[0], 3, padding_mask=MASKS["padding"])
    assert float(pooled_load_balancing_loss([plan])) == pytest.approx(
        3 * float(load_balancing_loss(plan)), rel=1e-5
    )


def test_no_real_token_costs_nothing():
    plans = [
        choose_top_k(each, 2, padding_mask=MASKS["nothing real"])
        for each in logits_of_layers()
    ]
    assert float(pooled_load_balancing_loss(plans)) == 0.0


@pytest.mark.sweep
def test_layers_may_have_other_shapes_and_masks():
    logits = logits_of_layers()[0]
    whole = choose_top_k(logits, 2, padding_mask=MASKS["padding"])
    parts = [
        choose_top_k(logits[:1], 2),
        choose_top_k(logits[1, :4], 2),
        choose_top_k(logits[2], 2, padding_mask=np.zeros(7, bool)),
    ]
    assert float(pooled_load_balancing_loss(parts)) == pytest.approx(
        float(pooled_load_balancing_loss([whole])), rel=1e-5
    )


@pytest.mark.parametrize("sizes", [[], [4, 5]])
def test_layers_must_have_the_same_experts(sizes):
    plans = [choose_top_k(np.zeros((2, size)), 1) for size in sizes]
    with pytest.raises(ValueError, match=f"{len(sizes)} plans, .*Add up"):
        pooled_load_balancing_loss(plans)


def test_what_was_dropped_costs_what_it_did():
    logits, mask = logits_of_layers()[0], MASKS["padding"]
    plan = choose_top_k(logits, 2, padding_mask=mask)
    limited = assign_slots(plan, NUM_EXPERTS, capacity=1)
    assert float(pooled_load_balancing_loss([limited])) == pytest.approx(
        float(pooled_load_balancing_loss([plan])), rel=1e-6
    )


def test_a_plan_without_scores_is_refused():
    plan = choose_top_k(logits_of_layers()[0], 2)
    with pytest.raises(ValueError, match="a router with scores"):
        pooled_load_balancing_loss([plan, plan._replace(scores=None)])
