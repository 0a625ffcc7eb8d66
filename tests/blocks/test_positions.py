"""Positions of one stretch for all rows, and of one for each."""

import numpy as np
from keras import ops

from keras_moe.blocks.positions import positions_from


def as_list(tensor):
    return ops.convert_to_numpy(tensor).tolist()


def test_one_start_counts_for_all_rows():
    for start in (3, ops.convert_to_tensor(3)):
        assert as_list(positions_from(start, 4)) == [3, 4, 5, 6]


def test_each_row_counts_from_its_own_start():
    starts = ops.convert_to_tensor(np.array([0, 7], "int32"))
    assert as_list(positions_from(starts, 2)) == [[0, 1], [7, 8]]
    assert as_list(positions_from(starts, 1)) == [[0], [7]]
