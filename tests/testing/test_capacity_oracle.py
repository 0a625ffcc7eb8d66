"""Capacity and drop order against hand-worked cases and their definition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from keras_moe.testing import capacity
from keras_moe.testing import drop

# The oracles are NumPy.
pytestmark = pytest.mark.once


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((1.0, 8, 2, 4), 4),
        ((1.25, 8, 2, 4), 5),
        ((1.0, 9, 2, 4), 5),  # 4.5 rounds up
        ((0.01, 8, 1, 4), 1),  # at least one
        ((2.0, 1, 1, 64), 1),
        ((1, 6, 1, 3), 2),  # an int is a factor too
        # Exactly 11 and 5 slots, although the floats 1.1 and 5 / 3 are a little
        # larger than these numbers.
        ((1.1, 100, 1, 10), 11),
        ((5 / 3, 9, 1, 3), 5),
        ((1e-9, 100, 1, 1), 1),
    ],
)
def test_capacity_by_hand(arguments, expected):
    assert capacity(*arguments) == expected


def test_all_first_choices_come_before_any_second():
    # Expert 0: second choice of token 0, first choice of tokens 1 and 2.
    indices = [[[1, 0], [0, 1], [0, 2]]]
    probs = np.full((1, 3, 3), 1 / 3)
    # Two slots each: the first choices of tokens 1 and 2 fill expert 0.
    kept = drop(indices, probs, None, 2)
    np.testing.assert_array_equal(
        kept, [[[True, False], [True, True], [True, True]]]
    )
    # One slot: expert 0 to token 1; expert 1 to token 0, before the second
    # choice of token 1; expert 2 to the second choice of token 2.
    kept = drop(indices, probs, None, 1)
    np.testing.assert_array_equal(
        kept, [[[True, False], [True, False], [False, True]]]
    )


def test_score_priority_looks_at_the_best_score_of_the_token():
    # Token 1 is the surest of all, about expert 0; expert 1 is only its second
    # choice, at 0.1, where tokens 0 and 2 give 0.4 and 0.3 as theirs.
    indices = [[[0, 1], [0, 1], [0, 1]]]
    probs = [[[0.6, 0.4], [0.9, 0.1], [0.7, 0.3]]]
    kept = drop(indices, probs, None, 1, "score")
    np.testing.assert_array_equal(kept[0], [[0, 0], [1, 1], [0, 0]])
    kept = drop(indices, probs, None, 2, "score")
    np.testing.assert_array_equal(kept[0], [[0, 0], [1, 1], [1, 1]])
    kept = drop(indices, probs, None, 1, "position")
    np.testing.assert_array_equal(kept[0], [[1, 1], [0, 0], [0, 0]])


def test_equal_scores_are_served_by_position():
    probs = np.full((1, 4, 2), 0.5)
    kept = drop(np.zeros((1, 4, 1), int), probs, None, 2, "score")
    np.testing.assert_array_equal(kept[0, :, 0], [1, 1, 0, 0])


def test_padding_takes_no_slot_even_with_the_best_score():
    indices = np.zeros((1, 3, 1), int)
    probs = np.array([[[0.9, 0.1], [0.6, 0.4], [0.7, 0.3]]])
    mask = np.array([[False, True, True]])
    for priority, expected in (("position", [0, 1, 0]), ("score", [0, 0, 1])):
        kept = drop(indices, probs, mask, 1, priority)
        np.testing.assert_array_equal(kept[0, :, 0], expected)


def test_without_capacity_only_padding_is_left_out():
    indices = np.zeros((2, 5, 1), int)
    probs = np.ones((2, 5, 1))
    mask = np.random.default_rng(0).random((2, 5)) < 0.5
    kept = drop(indices, probs, mask, None)
    np.testing.assert_array_equal(kept[..., 0], mask)


# The definition, said without an order of events: an expert keeps the first
# `slots` of its real pairs in the sorted order of (choice, [score,] position).
@settings(max_examples=100)
@given(data=st.data())
def test_each_expert_keeps_its_best_ranked_pairs(data):
    num_experts = data.draw(st.integers(1, 4), label="E")
    top_k = data.draw(st.integers(1, num_experts), label="K")
    size = data.draw(st.integers(1, 6), label="S")
    slots = data.draw(st.integers(1, 4), label="C")
    priority = data.draw(st.sampled_from(["position", "score"]))
    experts = st.permutations(range(num_experts)).map(lambda p: p[:top_k])
    group = st.lists(experts, min_size=size, max_size=size)
    indices = np.array(data.draw(st.tuples(group, group), label="indices"))
    # Few values, so that many scores tie.
    row = st.lists(
        st.sampled_from([0.1, 0.2, 0.3]),
        min_size=num_experts,
        max_size=num_experts,
    )
    rows = st.lists(row, min_size=size, max_size=size)
    probs = np.array(data.draw(st.tuples(rows, rows), label="probs"))
    masks = st.lists(st.booleans(), min_size=size, max_size=size)
    mask = np.array(data.draw(st.tuples(masks, masks), label="mask"))

    kept = drop(indices, probs, mask, slots, priority)

    expected = np.zeros(indices.shape, dtype=bool)
    for g in range(2):
        for e in range(num_experts):
            pairs = [
                (k, -probs[g, s].max() if priority == "score" else 0, s)
                for s in range(size)
                for k in range(top_k)
                if mask[g, s] and indices[g, s, k] == e
            ]
            for k, _, s in sorted(pairs)[:slots]:
                expected[g, s, k] = True
    np.testing.assert_array_equal(kept, expected)


def test_an_unknown_priority_is_refused():
    with pytest.raises(ValueError, match='"position" or "score".*random'):
        drop([[[0]]], [[[1.0]]], None, 1, "random")


def test_a_mask_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"shape \(1, 1\).*shape=\(2,\)"):
        drop([[[0]]], [[[1.0]]], [True, True], 1)
