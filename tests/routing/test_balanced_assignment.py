"""Balanced assignment: even loads, near the best sum of scores."""

import itertools

import keras
import numpy as np
import pytest
from keras import ops

from keras_moe.routing import assign_evenly


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def assign(scores, mask=None):
    return np.array(ops.convert_to_numpy(assign_evenly(scores, mask)))


def best_sum(scores):
    """Try all assignments of S tokens to E experts with equal loads."""
    size, num_experts = scores.shape
    return max(
        sum(scores[s, e] for s, e in enumerate(choice))
        for choice in itertools.product(range(num_experts), repeat=size)
        if np.ptp(np.bincount(choice, minlength=num_experts)) == 0
    )


def test_the_sum_of_scores_is_within_the_bound_of_the_best():
    scores = draw(8, 6, 3)
    scores[4:] += [2.0, 0.0, 0.0]  # All prefer the first expert.
    for each, chosen in zip(scores, assign(scores), strict=True):
        assert np.bincount(chosen, minlength=3).tolist() == [2, 2, 2]
        largest = np.max(np.ptp(each, axis=1))
        missed = best_sum(each) - np.sum(each[np.arange(6), chosen])
        assert -1e-5 <= missed <= 6 * largest / 50


@pytest.mark.sweep(first=1)
@pytest.mark.parametrize("kind", ["normal", "skewed", "all equal", "far"])
def test_loads_are_even_whatever_the_scores(kind):
    scores = draw(2, 19, 4)
    if kind == "skewed":
        scores += np.array([9.0, 3.0, 0.0, -6.0], "float32")
    scores = {"all equal": np.ones_like(scores), "far": 1e4 * scores}.get(
        kind, scores
    )
    for chosen in assign(scores):
        # 19 = 4 * 4 + 3.
        assert sorted(np.bincount(chosen, minlength=5)) == [0, 4, 5, 5, 5]


@pytest.mark.sweep
def test_padding_goes_nowhere_and_leaves_the_others_as_they_are():
    scores = draw(3, 8, 3)
    mask = np.arange(8) < np.array([[6], [2], [0]])
    chosen = assign(np.where(mask[..., None], scores, 1e4), mask)
    assert (chosen[~mask] == 3).all()
    assert chosen[0, :6].tolist() == assign(scores[:1, :6])[0].tolist()
    # Two tokens to two of three experts.
    assert len(set(chosen[1, :2].tolist()) - {3}) == 2


@pytest.mark.sweep
def test_a_group_does_not_depend_on_others():
    scores = draw(2, 12, 4)
    scores[1] += [8.0, 0.0, 0.0, 0.0]  # Takes more rounds.
    assert assign(scores)[0].tolist() == assign(scores[:1])[0].tolist()
    assert assign(scores[0]).tolist() == assign(scores[:1])[0].tolist()


@pytest.mark.sweep
@pytest.mark.parametrize("shape", [(1, 5, 1), (1, 1, 4), (3, 2, 5)])
def test_one_expert_one_token_and_fewer_tokens_than_experts(shape):
    chosen = assign(draw(*shape))
    for each in chosen:
        counts = np.bincount(each, minlength=shape[2])
        assert np.sum(counts) == shape[1]
        assert len(counts) == shape[2]
        assert np.ptp(counts) <= 1


def test_it_can_be_compiled():
    if keras.config.backend() != "tensorflow":
        pytest.skip("JAX compiles the router's test, and PyTorch nothing")
    import tensorflow as tf

    scores = draw(2, 8, 4)
    expected = assign(scores).tolist()
    compiled = tf.function(assign_evenly, jit_compile=True)(scores)
    assert ops.convert_to_numpy(compiled).tolist() == expected


@pytest.mark.sweep
def test_after_too_many_rounds_places_are_filled_in_order(monkeypatch):
    from keras_moe.routing import balanced_assignment

    monkeypatch.setattr(balanced_assignment, "MAX_ROUNDS", 1)
    scores = np.array([[3, 0], [5, 0], [4, 0], [1, 0]], "float32")
    # One round: the second and the third bid most for expert 0.
    assert assign(scores).tolist() == [1, 0, 0, 1]
