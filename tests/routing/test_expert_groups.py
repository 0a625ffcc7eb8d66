"""Choosing within the best groups of experts."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from keras import ops
from transformers import DeepseekV2Config
from transformers import DeepseekV3Config
from transformers.models.deepseek_v2.modeling_deepseek_v2 import (
    DeepseekV2TopkRouter,
)
from transformers.models.deepseek_v3.modeling_deepseek_v3 import (
    DeepseekV3TopkRouter,
)

from keras_moe.routing import CombineWeights
from keras_moe.routing import ExpertGroups
from keras_moe.routing import choose_top_k
from keras_moe.routing.expert_groups import limit_to_groups

TOKENS = 50
EXPERTS = 12


def limit_by_hand(scores, num_groups, num_kept, group_score):
    """Sort the groups of each token, the better first, ties by index."""
    limited = np.full_like(scores, -np.inf)
    size = scores.shape[-1] // num_groups
    for index in np.ndindex(scores.shape[:-1]):
        groups = [
            scores[index][group * size : (group + 1) * size]
            for group in range(num_groups)
        ]
        best = [
            max(group) if group_score == "max" else sum(sorted(group)[-2:])
            for group in groups
        ]
        order = sorted(range(num_groups), key=lambda group: -best[group])
        for group in order[:num_kept]:
            limited[index][group * size : (group + 1) * size] = groups[group]
    return limited


@pytest.mark.sweep
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([1, 2, 3, 6]),
    st.integers(1, 6),
    st.sampled_from(["max", "top2_sum"]),
)
def test_all_but_the_best_groups_are_ruled_out(
    seed, num_groups, num_kept, group_score
):
    num_kept = min(num_kept, num_groups)
    # Quarters, so that groups often tie; negative, as biased scores may be.
    scores = np.random.default_rng(seed).integers(-8, 9, (2, 3, EXPERTS)) / 4
    scores = scores.astype("float32")
    limited = limit_to_groups(scores, num_groups, num_kept, group_score)
    np.testing.assert_array_equal(
        ops.convert_to_numpy(limited),
        limit_by_hand(scores, num_groups, num_kept, group_score),
    )


def chosen_by(router):
    """Return random logits with the reference's choice and weights."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(TOKENS, EXPERTS, generator=generator)
    with torch.no_grad():
        router.weight.copy_(torch.eye(EXPERTS))
        _, weights, indices = router(logits)
    dense = np.zeros((TOKENS, EXPERTS), "float32")
    np.put_along_axis(dense, indices.numpy(), weights.numpy(), axis=-1)
    return logits.numpy(), dense


def dense_weights(plan):
    dense = np.zeros((TOKENS, EXPERTS), "float32")
    indices = ops.convert_to_numpy(plan.expert_indices)
    weights = ops.convert_to_numpy(plan.combine_weights)
    np.put_along_axis(dense, indices, weights, axis=-1)
    return dense


@pytest.mark.parametrize("num_limited_groups", [1, 2, 4])
def test_deepseek_v2_chooses_as_the_reference(num_limited_groups):
    config = DeepseekV2Config(
        hidden_size=EXPERTS,
        num_attention_heads=1,
        n_routed_experts=EXPERTS,
        num_experts_per_tok=3,
        topk_method="group_limited_greedy",
        n_group=4,
        topk_group=num_limited_groups,
        routed_scaling_factor=16.0,
    )
    logits, expected = chosen_by(DeepseekV2TopkRouter(config))
    plan = choose_top_k(
        logits,
        3,
        "softmax",
        CombineWeights(normalize=False, scale=16.0),
        expert_groups=ExpertGroups(4, num_limited_groups, "max"),
    )
    np.testing.assert_allclose(dense_weights(plan), expected, atol=1e-5)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("num_limited_groups", [1, 2, 4])
def test_deepseek_v3_chooses_as_the_reference(num_limited_groups, normalize):
    config = DeepseekV3Config(
        hidden_size=EXPERTS,
        n_routed_experts=EXPERTS,
        num_experts_per_tok=3,
        n_group=4,
        topk_group=num_limited_groups,
        norm_topk_prob=normalize,
        routed_scaling_factor=2.5,
    )
    router = DeepseekV3TopkRouter(config)
    # Below -1, so that whole groups have negative scores.
    bias = np.random.default_rng(1).normal(-0.5, 0.5, EXPERTS)
    bias = bias.astype("float32")
    router.e_score_correction_bias.copy_(torch.from_numpy(bias))
    logits, expected = chosen_by(router)
    plan = choose_top_k(
        logits,
        3,
        "sigmoid",
        CombineWeights(normalize, scale=2.5),
        expert_bias=bias,
        expert_groups=ExpertGroups(4, num_limited_groups, "top2_sum"),
    )
    np.testing.assert_allclose(dense_weights(plan), expected, atol=1e-5)


def test_probabilities_and_logits_stay_those_of_all_experts():
    logits = np.random.default_rng(0).normal(size=(5, EXPERTS))
    logits = logits.astype("float32")
    free = choose_top_k(logits, 2)
    limited = choose_top_k(logits, 2, expert_groups=ExpertGroups(4, 1))
    for name in ("probs", "logits"):
        np.testing.assert_array_equal(
            ops.convert_to_numpy(getattr(limited.scores, name)),
            ops.convert_to_numpy(getattr(free.scores, name)),
        )
    groups = ops.convert_to_numpy(limited.expert_indices) // 3
    assert np.all(groups[:, 0] == groups[:, 1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_groups": 5}, "`num_groups` to divide `num_experts`"),
        ({"num_groups": 0}, "`num_groups` to be a positive integer"),
        ({"num_groups": 2.5}, "`num_groups` to be a positive integer"),
        ({"num_limited": 0}, "`num_limited` to be a positive integer"),
        ({"num_limited": 5}, "`num_limited` between 1 and `num_groups`"),
        ({"num_limited": None}, "`num_limited` to be a positive integer"),
        ({"score": "mean"}, r"one of \('max', 'top2_sum'\)"),
        ({"num_limited": 1, "top_k": 4}, "enough experts"),
        ({"num_groups": 12, "score": "top2_sum"}, "enough experts"),
    ],
)
def test_groups_that_do_not_fit_are_refused(changes, message):
    fitting = {
        "num_experts": EXPERTS,
        "top_k": 3,
        "num_groups": 4,
        "num_limited": 2,
        "score": "max",
    }

    def check(num_experts, top_k, **groups):
        ExpertGroups(**groups).check_experts(num_experts, top_k)

    check(**fitting)
    with pytest.raises(ValueError, match=message) as error:
        check(**{**fitting, **changes})
    for name, value in changes.items():
        assert f"{name}={value!r}" in str(error.value)


def test_a_name_is_checked_at_once():
    assert ExpertGroups(4, 2).score == "max"
    with pytest.raises(ValueError, match="'mean'"):
        ExpertGroups(4, 2, "mean")
