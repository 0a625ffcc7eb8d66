from types import SimpleNamespace

import pytest

from keras_moe.distribution.shard_rules import axes_of_expert_weight
from keras_moe.distribution.shard_rules import axes_of_split_weight
from keras_moe.distribution.shard_rules import axes_of_weight
from keras_moe.distribution.shard_rules import check_shard

pytestmark = pytest.mark.once

SIZES = {"data": 2, "expert": 4}
BOTH = ("data", "expert")


def kernel(*shape):
    return SimpleNamespace(shape=shape, path="sparse/experts/up/kernel")


def test_experts_are_split_over_their_axis():
    assert axes_of_expert_weight(kernel(8, 6, 10), SIZES) == (
        *("expert", None, None),
    )
    assert axes_of_expert_weight(kernel(8, 6), SIZES) == ("expert", None)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        # The largest axis that 2 divides.
        ((8, 6, 10), ("expert", None, "data")),
        ((8, 6, 9), ("expert", "data", None)),
        ((8, 5, 9), ("expert", None, None)),
        # A bias of each expert is small.
        ((8, 10), ("expert", None)),
    ],
)
def test_fully_sharded_experts_are_split_over_the_data_axis_too(
    shape, expected
):
    assert axes_of_expert_weight(kernel(*shape), SIZES, True) == expected


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        # The largest axis that all 8 devices divide.
        ((16, 64), (None, BOTH)),
        ((16, 63), (BOTH, None)),
        # What 8 devices cannot divide, 4 or 2 may.
        ((15, 12), (None, "expert")),
        ((6, 9), ("data", None)),
        ((15, 63), (None, None)),
        ((4, 8, 2), (None, BOTH, None)),
        # Biases and scales stay whole.
        ((64,), (None,)),
        ((), ()),
    ],
)
def test_fully_sharded_kernels_are_split_over_all_devices(shape, expected):
    assert axes_of_weight(shape, SIZES, fully=True) == expected


@pytest.mark.parametrize(
    ("shape", "dimension", "expected"),
    [
        ((6, 8, 2), 1, (None, "expert", None)),
        ((8, 2, 6), 0, ("expert", None, None)),
        ((8,), 0, ("expert",)),
        # Two key/value heads, which 4 devices cannot divide.
        ((6, 2, 8), 1, (None, None, None)),
        ((8, 8), None, (None, None)),
    ],
)
def test_heads_are_split_over_the_expert_axis(shape, dimension, expected):
    assert axes_of_split_weight(shape, dimension, SIZES) == expected


def test_other_weights_stay_whole():
    assert axes_of_weight((16, 64), SIZES) == (None, None)


def test_experts_that_cannot_be_divided_are_refused():
    with pytest.raises(ValueError, match="can be divided") as error:
        axes_of_expert_weight(kernel(6, 2, 2), SIZES)
    assert "up/kernel with 6 experts, expert=4. Choose" in str(error.value)


def test_an_unknown_way_to_shard_is_refused():
    for known in (None, "full", "tensor"):
        check_shard(known)
    with pytest.raises(ValueError, match="`shard` to be one of") as error:
        check_shard("half")
    assert str(error.value).endswith(
        "of [None, 'full', 'tensor']. Received: shard='half'."
    )
