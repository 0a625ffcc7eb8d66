"""What a router decides: plans, as values."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_moe.routing import RouterScores
from keras_moe.routing import TokenChoice
from keras_moe.routing import assign_slots
from keras_moe.routing import choose_top_k
from keras_moe.routing import count_tokens
from keras_moe.routing import hide_padding
from keras_moe.routing import keep_pairs
from keras_moe.routing.plans import get_scores


def plan_of(indices, **parts):
    """A plan in which every pair weighs 1."""
    indices = np.asarray(indices, "int32")
    return TokenChoice(indices, np.ones(indices.shape, "float32"), **parts)


def test_a_plan_is_a_pytree():
    plan = choose_top_k(np.zeros((2, 3, 4), "float32"), top_k=2)
    plan = assign_slots(plan, num_experts=4, capacity=5)
    noise = {"noisy_logits": plan.scores.logits, "noise_stddev": np.ones(())}
    plan = plan._replace(
        scores=plan.scores._replace(**noise),
        input_weights=plan.combine_weights,
        free_outputs=np.zeros((2, 3, 1)),
    )
    ranks = keras.tree.map_structure(ops.ndim, plan)
    assert isinstance(ranks, TokenChoice)
    assert ranks == TokenChoice(
        3, 3, 2, RouterScores(3, 3, 2, 3, 0), 3, 0, 3, 3
    )


def test_a_plan_crosses_a_compiled_function(backend):
    def double(plan):
        return plan._replace(combine_weights=2 * plan.combine_weights)

    if backend == "jax":
        import jax

        double = jax.jit(double)
    elif backend == "tensorflow":
        import tensorflow as tf

        double = tf.function(double)
    plan = choose_top_k(np.zeros((3, 4), "float32"), top_k=2)
    doubled = double(plan)
    assert isinstance(doubled, TokenChoice)
    # Two equal experts of weight 1/2.
    np.testing.assert_allclose(
        ops.convert_to_numpy(doubled.combine_weights), 1.0
    )
    # Parts that do not apply stay away.
    assert doubled.tokens_per_expert is doubled.slots is doubled.capacity
    assert doubled.slots is None


@pytest.mark.parametrize("dtype", ["bool", "int64", "float32"])
def test_padding_goes_nowhere_with_weight_zero(dtype):
    plan = hide_padding(
        plan_of([[0, 1], [1, 0], [1, 2]]), np.array([1, 0, 1], dtype), 3
    )
    np.testing.assert_array_equal(
        ops.convert_to_numpy(plan.expert_indices), [[0, 1], [3, 3], [1, 2]]
    )
    np.testing.assert_array_equal(
        ops.convert_to_numpy(plan.combine_weights), [[1, 1], [0, 0], [1, 1]]
    )
    assert keras.backend.standardize_dtype(plan.expert_indices.dtype) == "int32"


def test_without_a_mask_nothing_is_hidden():
    plan = plan_of([[0, 1]])
    assert hide_padding(plan, None, 3) is plan


def test_padding_hidden_twice_is_hidden_in_the_scores_too():
    first, second = np.array([1, 1, 0], bool), np.array([0, 1, 1], bool)
    plan = choose_top_k(np.zeros((3, 2), "float32"), 1, padding_mask=first)
    plan = hide_padding(plan, second, 2)
    np.testing.assert_array_equal(
        ops.convert_to_numpy(plan.scores.padding_mask), [False, True, False]
    )
    np.testing.assert_array_equal(
        ops.convert_to_numpy(plan.expert_indices), [[2], [0], [2]]
    )


def test_pairs_that_are_not_kept_go_nowhere():
    kept = np.array([[True, False], [False, True]])
    plan = keep_pairs(plan_of([[0, 1], [1, 0]]), kept, num_experts=2)
    np.testing.assert_array_equal(
        ops.convert_to_numpy(plan.expert_indices), [[0, 2], [2, 0]]
    )
    np.testing.assert_array_equal(
        ops.convert_to_numpy(plan.combine_weights), kept
    )


def test_a_nan_weight_that_is_not_kept_is_zero():
    plan = plan_of([[0, 1]])._replace(
        combine_weights=np.float32([[np.nan, 1.0]])
    )
    plan = keep_pairs(plan, np.array([[False, True]]), num_experts=2)
    np.testing.assert_array_equal(
        ops.convert_to_numpy(plan.combine_weights), [[0.0, 1.0]]
    )


@pytest.mark.parametrize(
    ("indices", "expected"),
    [
        ([[1, 0], [1, 3]], [1, 2, 0]),
        ([[[1, 0], [1, 3]], [[2, 2], [3, 3]]], [[1, 2, 0], [0, 0, 2]]),
        # Groups are counted, whatever they consist of.
        ([[[[1, 0]], [[1, 3]]], [[[2, 2]], [[3, 3]]]], [[1, 2, 0], [0, 0, 2]]),
    ],
)
def test_pairs_are_counted_by_group_and_nowhere_does_not_count(
    indices, expected
):
    counts = count_tokens(plan_of(indices), 3).tokens_per_expert
    assert keras.backend.standardize_dtype(counts.dtype) == "int32"
    np.testing.assert_array_equal(ops.convert_to_numpy(counts), expected)


def test_counts_are_of_what_was_routed_not_of_what_is_kept():
    plan = count_tokens(plan_of([[[0], [0], [1]]]), 2)
    limited = assign_slots(plan, 2, capacity=1)
    assert limited.tokens_per_expert is plan.tokens_per_expert
    kept = np.array([[[False], [True], [True]]])
    again = keep_pairs(limited, kept, 2)
    assert again.tokens_per_expert is plan.tokens_per_expert
    # Nobody dropped these: they were not routed, and the counts are void.
    assert keep_pairs(plan, kept, 2).tokens_per_expert is None
    assert hide_padding(plan, kept[..., 0], 2).tokens_per_expert is None


def test_a_plan_without_scores_is_refused_with_the_cure():
    plan = choose_top_k(np.zeros((3, 4), "float32"), top_k=2)
    assert get_scores(plan) is plan.scores
    with pytest.raises(ValueError, match="a router with scores") as error:
        get_scores(plan_of([[0]]))
    assert "a TokenChoice with scores=None" in str(error.value)
    assert "`balancing=None`" in str(error.value)
