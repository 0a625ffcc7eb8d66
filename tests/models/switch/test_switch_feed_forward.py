"""Tests of the choice of feed-forward layers."""

import pytest

from keras_moe.models.switch.switch_feed_forward import is_sparse_block

# Numbers of blocks only.
pytestmark = pytest.mark.once


@pytest.mark.parametrize(
    "stride, sparse_blocks",
    [(1, [0, 1, 2, 3, 4, 5]), (2, [1, 3, 5]), (3, [1, 4]), (8, [1])],
)
def test_every_nth_block_is_sparse_from_the_second_on(stride, sparse_blocks):
    found = [index for index in range(6) if is_sparse_block(index, stride)]
    assert found == sparse_blocks


def test_the_first_sparse_block_can_be_another():
    # flaxformer's: the last of every four, in ST-MoE.
    found = [index for index in range(12) if is_sparse_block(index, 4, 3)]
    assert found == [3, 7, 11]
