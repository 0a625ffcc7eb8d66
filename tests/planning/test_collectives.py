"""What devices send each other."""

import pytest

from keras_moe.planning.collectives import Traffic
from keras_moe.planning.collectives import count_collectives

pytestmark = pytest.mark.once


def test_adds_up_the_results_by_kind(program):
    assert count_collectives(program) == {
        "all-to-all": Traffic(1, 4 * 64 * 256 * 2),
        # Inside of an asynchronous computation.
        "all-gather": Traffic(1, 512 * 256 * 2),
        # A scalar, four loads, and eight numbers of two bytes.
        "all-reduce": Traffic(1, 4 + 16 + 16),
        # Three times around the loop; the start repeats its operand.
        "collective-permute": Traffic(3, 3 * 64 * 256 * 2),
    }
