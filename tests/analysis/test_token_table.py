"""Counts of tokens and experts, and the lists made of them."""

import numpy as np
import pytest

from keras_moe.analysis import count_choices
from keras_moe.analysis import top_tokens

pytestmark = pytest.mark.once

EXPERTS = 3
TOKEN_IDS = np.array([[4, 1, 4], [0, 4, 2]])
# (B, L, layers=2, K=2); 3 and -1 mean nowhere.
ROUTED = np.array(
    [
        [[[0, 1], [2, 1]], [[1, 2], [2, -1]], [[0, 2], [0, 1]]],
        [[[2, 3], [1, 0]], [[0, 1], [2, 1]], [[3, 3], [-1, -1]]],
    ]
)


def test_each_choice_is_counted_where_its_token_and_expert_are():
    expected = np.zeros((2, 5, EXPERTS), int)
    for row, column, layer, choice in np.ndindex(ROUTED.shape):
        expert = ROUTED[row, column, layer, choice]
        if 0 <= expert < EXPERTS:
            expected[layer, TOKEN_IDS[row, column], expert] += 1
    counts = count_choices(TOKEN_IDS, ROUTED, EXPERTS, 5)
    np.testing.assert_array_equal(counts, expected)
    # Token 4 three times, in layer 0: (0, 1), (0, 2), (0, 1).
    assert counts[0, 4].tolist() == [3, 2, 1]


def test_tokens_outside_of_the_mask_count_nowhere():
    mask = np.array([[True, False, False], [False, True, True]])
    counts = count_choices(TOKEN_IDS, ROUTED, EXPERTS, 5, mask)
    assert counts[0, 4].tolist() == [2, 2, 0]
    assert counts[0].sum() == 4


@pytest.mark.parametrize("by", ["lift", "count"])
def test_rare_tokens_and_other_experts_tokens_are_not_listed(by):
    counts = np.array([[100, 100], [8, 0], [4, 0], [0, 6]])
    lists = top_tokens(counts, by=by)
    # Lift: 8 / 8 * 218 / 112 = 1.946429, and 100 / 200 * 218 / 112 = 0.973214.
    expected = [(0, 100, 0.973214), (1, 8, 1.946429)]
    assert lists[0] == (expected[1:] if by == "lift" else expected)
    assert lists[1][-1][0] == (0 if by == "lift" else 3)


def test_equal_lifts_are_ordered_by_count_then_by_token():
    counts = np.array([[5, 0], [7, 0], [7, 0], [0, 9]])
    order = [token for token, _, _ in top_tokens(counts)[0]]
    assert order == [1, 2, 0]


def test_an_unknown_order_is_refused():
    with pytest.raises(ValueError, match="'lift' or 'count'"):
        top_tokens(np.ones((2, 2)), by="size")


def test_arrays_of_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"of shape \(B, L, layers, K\)"):
        count_choices(TOKEN_IDS, ROUTED[0], EXPERTS, 5)
    with pytest.raises(ValueError, match="`token_ids` of shape"):
        count_choices(TOKEN_IDS[:1], ROUTED, EXPERTS, 5)
    with pytest.raises(ValueError, match="`mask` of shape"):
        count_choices(TOKEN_IDS, ROUTED, EXPERTS, 5, np.ones((2, 2), bool))
