"""The mixture oracle against hand-worked cases and an all-experts formula."""

import numpy as np
import pytest

from keras_moe.testing import capacity
from keras_moe.testing import drop
from keras_moe.testing import load_balancing_loss
from keras_moe.testing import moe
from keras_moe.testing import route
from keras_moe.testing import router_z_loss

# The oracles are NumPy.
pytestmark = pytest.mark.once


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def all_experts(mixture, weights):
    """Run every expert on every token, then weigh them: weights (G, S, E)."""
    up = np.einsum("gsh,ehi->gsei", mixture.inputs, mixture.up_kernel)
    if mixture.gate_kernel is None:
        hidden = up * sigmoid(up)
    else:
        gate = np.einsum("gsh,ehi->gsei", mixture.inputs, mixture.gate_kernel)
        hidden = gate * sigmoid(gate) * up
    return np.einsum("gsei,eih,gse->gsh", hidden, mixture.down_kernel, weights)


@pytest.mark.parametrize("gated", [True, False])
@pytest.mark.parametrize("score_function", ["softmax", "sigmoid"])
@pytest.mark.parametrize("priority", ["position", "score"])
@pytest.mark.parametrize("capacity_factor", [None, 0.5, 1.25])
@pytest.mark.parametrize("top_k", [1, 2, 3])
def test_outputs_are_the_weighted_sum_of_kept_experts(
    gated, score_function, priority, capacity_factor, top_k, make_mixture
):
    mixture = make_mixture(gated=gated)
    mask = np.array([[True] * 5, [True, False, True, True, False]])
    result = moe(
        *mixture,
        top_k=top_k,
        score_function=score_function,
        capacity_factor=capacity_factor,
        priority=priority,
        padding_mask=mask,
    )
    # (G, S, K) -> (G, S, E): each kept weight to the place of its expert.
    places = np.eye(3)[result.routing.expert_indices]
    weights = np.einsum(
        "gsk,gsk,gske->gse",
        result.kept,
        result.routing.combine_weights,
        places,
    )
    np.testing.assert_allclose(
        result.outputs, all_experts(mixture, weights), rtol=1e-12, atol=1e-14
    )
    assert np.all(result.outputs[~mask] == 0.0)
    slots = None
    if capacity_factor is not None:
        slots = capacity(capacity_factor, 5, top_k, 3)
    kept = drop(
        result.routing.expert_indices,
        result.routing.probs,
        mask,
        slots,
        priority,
    )
    np.testing.assert_array_equal(result.kept, kept)


def test_priority_decides_who_is_dropped(make_mixture):
    mixture = make_mixture()
    first, surest = (
        moe(*mixture, top_k=2, capacity_factor=0.5, priority=priority)
        for priority in ("position", "score")
    )
    assert first.kept.sum() == surest.kept.sum() < first.kept.size
    assert np.any(first.kept != surest.kept)


def test_capacity_is_counted_per_group_with_padding_in_its_length():
    # Plain experts that copy, one expert, four tokens: ceil(0.5 * 4) = 2 slots
    # in each group, although the first group has two real tokens only.
    inputs = np.ones((2, 4, 1))
    one = np.ones((1, 1, 1))
    mask = np.array([[False, True, False, True], [True] * 4])
    result = moe(
        inputs,
        np.ones((1, 1)),
        None,
        one,
        one,
        top_k=1,
        activation="relu",
        capacity_factor=0.5,
        padding_mask=mask,
    )
    np.testing.assert_allclose(
        result.outputs[..., 0], [[0, 1, 0, 1], [1, 1, 0, 0]]
    )


def test_weights_are_not_normalized_again_after_dropping():
    # Both tokens like experts 0 and 1 with scores 3/4 and 1/4; one slot each,
    # so the second token loses both, and keeps nothing.
    inputs = np.ones((1, 2, 1))
    kernels = np.array([[[1.0]], [[1.0]]])
    router_kernel = np.log([[3.0, 1.0]])
    arguments = (inputs, router_kernel, None, kernels, 8 * kernels)
    result = moe(*arguments, top_k=2, activation="relu", capacity_factor=0.5)
    np.testing.assert_allclose(result.outputs[..., 0], [[8.0, 0.0]])
    # Here the second choice of the second token is a third expert, with a slot
    # to spare: it keeps that pair alone, with its weight of 1/4 as it was.
    kernels = np.ones((3, 1, 1))
    inputs = np.array([[[1.0, 0.0], [0.0, 1.0]]])
    router_kernel = np.log([[3.0, 1.0, 1e-9], [3.0, 1e-9, 1.0]])
    result = moe(
        inputs,
        router_kernel,
        None,
        np.ones((3, 2, 1)),
        np.full((3, 1, 2), 8.0),
        top_k=2,
        activation="relu",
        capacity_factor=0.75,  # ceil(0.75 * 2 * 2 / 3) = 1
    )
    np.testing.assert_allclose(result.outputs[0, :, 0], [8.0, 2.0])


@pytest.mark.parametrize("normalize", [None, True, False])
@pytest.mark.parametrize("route_scale", [1.0, 2.5])
def test_router_settings_reach_the_router(normalize, route_scale, make_mixture):
    mixture = make_mixture()
    mask = np.array([[True] * 5, [False] * 5])
    settings = {
        "top_k": 2,
        "score_function": "sigmoid",
        "normalize": normalize,
        "route_scale": route_scale,
        "padding_mask": mask,
    }
    result = moe(*mixture, **settings)
    expected = route(mixture.inputs, mixture.router_kernel, **settings)
    for field, value in zip(result.routing, expected, strict=True):
        np.testing.assert_array_equal(field, value)
    assert result.load_balancing_loss == load_balancing_loss(
        expected.expert_indices, expected.probs, mask
    )
    assert result.router_z_loss == router_z_loss(expected.logits, mask)


def test_losses_do_not_see_dropping(make_mixture):
    mixture = make_mixture()
    free = moe(*mixture, top_k=2)
    tight = moe(*mixture, top_k=2, capacity_factor=0.1)
    assert tight.kept.sum() < free.kept.sum()
    assert tight.load_balancing_loss == free.load_balancing_loss
    assert tight.router_z_loss == free.router_z_loss


def test_experts_may_be_renamed(make_mixture):
    # A permutation of the experts and of the router's columns is no change.
    mixture = make_mixture(num_experts=4)
    order = [2, 0, 3, 1]
    renamed = mixture._replace(
        router_kernel=mixture.router_kernel[:, order],
        gate_kernel=mixture.gate_kernel[order],
        up_kernel=mixture.up_kernel[order],
        down_kernel=mixture.down_kernel[order],
    )
    before = moe(*mixture, top_k=2, capacity_factor=1.0)
    after = moe(*renamed, top_k=2, capacity_factor=1.0)
    np.testing.assert_allclose(after.outputs, before.outputs, rtol=1e-12)
    np.testing.assert_array_equal(after.kept, before.kept)


def test_one_expert_is_a_dense_feed_forward(make_mixture):
    mixture = make_mixture(num_experts=1)
    result = moe(*mixture, top_k=1)
    # The softmax of one logit is 1.
    weights = np.ones((2, 5, 1))
    np.testing.assert_allclose(
        result.outputs, all_experts(mixture, weights), rtol=1e-12
    )
    assert result.load_balancing_loss == pytest.approx(1.0)


def test_a_nan_token_leaves_the_others_finite(make_mixture):
    mixture = make_mixture()
    mixture.inputs[0, 2] = np.nan
    outputs = moe(*mixture, top_k=2).outputs
    assert np.all(np.isnan(outputs[0, 2]))
    others = np.ones((2, 5), dtype=bool)
    others[0, 2] = False
    assert np.all(np.isfinite(outputs[others]))


def test_a_nan_in_a_padding_token_is_not_seen(make_mixture):
    mixture = make_mixture()
    mask = np.ones((2, 5), dtype=bool)
    mask[0, 2] = False
    expected = moe(*mixture, top_k=2, padding_mask=mask)
    mixture.inputs[0, 2] = np.nan
    result = moe(*mixture, top_k=2, padding_mask=mask)
    np.testing.assert_array_equal(result.outputs, expected.outputs)
    assert result.load_balancing_loss == expected.load_balancing_loss
    assert result.router_z_loss == expected.router_z_loss


def test_nothing_real_gives_zeros(make_mixture):
    mixture = make_mixture()
    result = moe(*mixture, top_k=2, padding_mask=np.zeros((2, 5), dtype=bool))
    assert not np.any(result.outputs)
    assert not np.any(result.kept)
    assert result.load_balancing_loss == result.router_z_loss == 0.0


def test_inputs_of_another_rank_are_refused(make_mixture):
    mixture = make_mixture()
    with pytest.raises(ValueError, match=r"rank 3.*shape=\(5, 3\)"):
        moe(mixture.inputs[0], *mixture[1:], top_k=2)
