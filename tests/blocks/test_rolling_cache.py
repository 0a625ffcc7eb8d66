"""Which position is in which slot, by writing them one after the other."""

import numpy as np
import pytest
from keras import ops

from keras_moe.blocks.rolling_cache import roll
from keras_moe.blocks.rolling_cache import slot_positions


def write_all(last, num_slots):
    slots = np.full(num_slots, -1)
    for position in range(last + 1):
        slots[position % num_slots] = position
    return slots


@pytest.mark.parametrize("num_slots", [1, 3, 8])
@pytest.mark.parametrize("last", [0, 1, 2, 3, 7, 11])
def test_slots_hold_what_was_written_last(last, num_slots):
    positions = ops.convert_to_numpy(slot_positions(last, num_slots))
    expected = write_all(last, num_slots)
    written = expected >= 0
    np.testing.assert_array_equal(positions[written], expected[written])
    assert np.all(positions[~written] < 0)


@pytest.mark.parametrize("length", [1, 3, 4, 8])
def test_rolling_keeps_the_latest_positions_in_their_slots(length):
    cache = np.arange(16.0, dtype="float32").reshape(2, 1, 8, 1)
    rolled = ops.convert_to_numpy(roll(cache, length, 3))
    expected = write_all(length - 1, 3)
    for slot, position in enumerate(expected):
        if position >= 0:
            np.testing.assert_array_equal(
                rolled[:, :, slot], cache[:, :, position]
            )


def test_each_row_may_have_a_length_of_its_own():
    lengths = np.array([1, 8, 4], "int32")
    last = ops.convert_to_tensor(lengths[:, None] - 1)
    positions = ops.convert_to_numpy(slot_positions(last, 3))
    cache = np.arange(48.0, dtype="float32").reshape(3, 2, 8, 1)
    rolled = ops.convert_to_numpy(
        roll(cache, ops.convert_to_tensor(lengths), 3)
    )
    assert rolled.shape == (3, 2, 3, 1)
    for row, length in enumerate(lengths):
        for slot, position in enumerate(write_all(length - 1, 3)):
            if position < 0:
                assert positions[row, slot] < 0
                continue
            assert positions[row, slot] == position
            np.testing.assert_array_equal(
                rolled[row, :, slot], cache[row, :, position]
            )
