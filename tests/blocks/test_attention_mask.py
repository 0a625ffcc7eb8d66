"""Causal masks, windows and padding."""

import numpy as np
from keras import ops

from keras_moe.blocks import causal_mask


def as_integers(mask):
    return ops.convert_to_numpy(mask).astype(int).tolist()


def test_queries_see_themselves_and_the_past():
    mask = causal_mask(np.arange(3), np.arange(3))
    assert as_integers(mask) == [[[1, 0, 0], [1, 1, 0], [1, 1, 1]]]


def test_window_counts_the_query_itself():
    mask = causal_mask(np.arange(4), np.arange(4), sliding_window=2)
    assert as_integers(mask)[0] == [
        [1, 0, 0, 0],
        [1, 1, 0, 0],
        [0, 1, 1, 0],
        [0, 0, 1, 1],
    ]


def test_padding_is_never_seen():
    padding_mask = np.array([[0, 1, 1], [1, 1, 0]])
    mask = causal_mask(np.arange(3), np.arange(3), padding_mask)
    assert as_integers(mask) == [
        [[0, 0, 0], [0, 1, 0], [0, 1, 1]],
        [[1, 0, 0], [1, 1, 0], [1, 1, 0]],
    ]


def test_one_query_in_the_middle_of_a_cache():
    mask = causal_mask(np.array([2]), np.arange(5))
    assert as_integers(mask) == [[[1, 1, 1, 0, 0]]]


def test_each_row_may_have_positions_of_its_own():
    queries = np.array([[2], [0], [3]])
    mask = causal_mask(queries, np.arange(4), sliding_window=3)
    assert as_integers(mask) == [[[1, 1, 1, 0]], [[1, 0, 0, 0]], [[0, 1, 1, 1]]]
    # The slots of a window: position 3 has taken the place of 0.
    keys = np.array([[0, 1, 2], [0, -2, -1], [3, 1, 2]])
    mask = causal_mask(queries, keys, sliding_window=2)
    assert as_integers(mask) == [[[0, 1, 1]], [[1, 0, 0]], [[1, 0, 1]]]
