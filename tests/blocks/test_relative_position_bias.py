"""Tests of the relative position bias."""

import math

import keras
import numpy as np
import pytest
from keras import ops

from keras_moe.blocks.relative_position_bias import RelativePositionBias
from keras_moe.blocks.relative_position_bias import bucket_relative_positions


def published_bucket(relative_position, bidirectional, num_buckets, farthest):
    """T5's formula for one position, in double precision."""
    offset = 0
    if bidirectional:
        num_buckets //= 2
        offset = num_buckets if relative_position > 0 else 0
        distance = abs(relative_position)
    else:
        distance = max(-relative_position, 0)
    exact = num_buckets // 2
    if distance < exact:
        return offset + distance
    fraction = math.log(distance / exact) / math.log(farthest / exact)
    bucket = exact + int(fraction * (num_buckets - exact) + 1e-9)
    return offset + min(bucket, num_buckets - 1)


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(
    "num_buckets, max_distance", [(32, 128), (8, 6), (6, 20), (4, 3)]
)
def test_buckets_follow_the_published_formula(
    bidirectional, num_buckets, max_distance
):
    buckets = bucket_relative_positions(
        max_distance, num_buckets, bidirectional
    )
    positions = range(-max_distance, max_distance + 1)
    assert buckets.tolist() == [
        published_bucket(p, bidirectional, num_buckets, max_distance)
        for p in positions
    ]


def test_published_boundaries_are_exact():
    # 16 = 8 * 16 ** (2 / 8): the logarithm is a whole number of buckets, and
    # a float32 rounding down would put it one bucket too low.
    buckets = bucket_relative_positions(128, 32, True)
    distance_15, distance_16, distance_64 = buckets[[113, 112, 64]]
    assert [distance_15, distance_16, distance_64] == [9, 10, 14]


def test_bias_depends_on_head_direction_and_distance():
    layer = RelativePositionBias(2, num_buckets=8, max_distance=6)
    x = np.zeros((3, 9, 1), "float32")
    layer.build(x.shape)
    table = np.arange(16.0).reshape(8, 2).astype("float32")
    layer.embeddings.assign(table)
    bias = ops.convert_to_numpy(layer(x, x))
    assert bias.shape == (1, 2, 9, 9)
    for query in range(9):
        for key in range(9):
            bucket = published_bucket(key - query, True, 8, 6)
            np.testing.assert_array_equal(bias[0, :, query, key], table[bucket])


def test_later_start_gives_the_later_rows():
    layer = RelativePositionBias(
        2, num_buckets=8, max_distance=6, bidirectional=False
    )
    keys = np.zeros((1, 9, 1), "float32")
    whole = ops.convert_to_numpy(layer(keys, keys))
    last_two = layer(keys[:, :2], keys, start_index=7)
    np.testing.assert_array_equal(
        ops.convert_to_numpy(last_two), whole[:, :, 7:]
    )
    assert np.ptp(whole) > 0
    each = layer(keys[:, :1], keys, start_index=np.array([7, 0], "int32"))
    np.testing.assert_array_equal(
        ops.convert_to_numpy(each)[:, :, 0], whole[0, :, [7, 0]]
    )


def test_gradient_counts_the_pairs_of_each_bucket():
    tokens = keras.Input((5, 1))
    layer = RelativePositionBias(1, num_buckets=8, max_distance=6)
    model = keras.Model(tokens, layer(tokens, tokens))
    before = ops.convert_to_numpy(layer.embeddings)
    model.compile(keras.optimizers.SGD(1.0), loss=lambda _, y: ops.sum(y))
    model.train_on_batch(np.zeros((1, 5, 1)), np.zeros((1, 1, 5, 5)))
    gradient = before - ops.convert_to_numpy(layer.embeddings)
    pairs = np.zeros((8, 1))
    for query in range(5):
        for key in range(5):
            pairs[published_bucket(key - query, True, 8, 6)] += 1
    np.testing.assert_allclose(gradient, pairs, atol=1e-5)


def test_unknown_lengths_stay_unknown():
    x = keras.Input((None, 4))
    layer = RelativePositionBias(3)
    assert layer(x, x).shape == (1, 3, None, None)
    assert layer.compute_output_shape((2, 5, 4), (2, 7, 4)) == (1, 3, 5, 7)


def test_config_round_trip():
    layer = RelativePositionBias(
        3, num_buckets=8, max_distance=9, bidirectional=False, name="bias"
    )
    config = keras.saving.serialize_keras_object(layer)
    copy = keras.saving.deserialize_keras_object(config)
    assert copy.get_config() == layer.get_config()
    assert copy.bidirectional is False


@pytest.mark.parametrize(
    "num_buckets, max_distance, bidirectional",
    [(2, 128, True), (1, 128, False), (32, 8, True), (8, 4, False)],
)
def test_too_short_a_distance_is_refused(
    num_buckets, max_distance, bidirectional
):
    with pytest.raises(ValueError, match="Use fewer buckets or a larger"):
        RelativePositionBias(2, num_buckets, max_distance, bidirectional)
