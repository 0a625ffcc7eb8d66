"""The largest arrays of a program."""

import pytest

from keras_moe.planning.largest_arrays import LargeArray
from keras_moe.planning.largest_arrays import largest_arrays

pytestmark = pytest.mark.once


def test_finds_the_largest_with_the_layer_that_makes_it(program):
    largest, second, third, fourth = largest_arrays(program, number=4)
    assert largest == LargeArray(
        512 * 512 * 2,
        "bf16",
        (512, 512),
        1,
        "gradient of decoder_block_0/experts/dot_general",
    )
    assert second.shape == (512, 256) and second.times == 1
    assert third.shape == (4, 64, 256) and third.made_by == "all-to-all"
    assert fourth == LargeArray(65536, "bf16", (128, 256), 1, "argument")


def test_an_operation_of_the_forward_pass_has_its_layers_name(program):
    made_by = {each.made_by for each in largest_arrays(program, number=20)}
    assert "router/reduce_sum" in made_by
