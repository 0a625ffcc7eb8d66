"""Random bits against published vectors, another rendering and statistics."""

import numpy as np
import pytest
from keras import ops

from keras_moe.export.signatures.murmur_hash import murmur_hash
from keras_moe.export.signatures.murmur_hash import uniform
from tests.export.signatures import random_oracle

# Four bytes, seed and hash: https://stackoverflow.com/a/31929528.
PUBLISHED = [
    (0xFFFFFFFF, 0, 0x76293B50),
    (0x87654321, 0, 0xF55B516B),
    (0x87654321, 0x5082EDEE, 0x2362F9DE),
    (0, 0, 0x2362F9DE),
]


def as_int32(values):
    return np.array(values, "uint32").view("int32")


def hash_all(keys, seeds):
    hashed = ops.convert_to_numpy(murmur_hash(as_int32(keys), as_int32(seeds)))
    assert hashed.dtype == "int32"
    return hashed.view("uint32").tolist()


def test_hashes_are_the_published_ones():
    keys, seeds, expected = zip(*PUBLISHED, strict=True)
    assert hash_all(keys, seeds) == list(expected)


def test_hashes_are_those_of_uint32_arithmetic():
    rng = np.random.default_rng(0)
    keys, seeds = rng.integers(0, 2**32, (2, 64)).tolist()
    expected = [*map(random_oracle.murmur_hash, keys, seeds)]
    assert hash_all(keys, seeds) == expected


def draw(seeds, positions):
    return ops.convert_to_numpy(
        uniform(np.asarray(seeds, "int32"), np.asarray(positions, "int32"))
    )


def test_numbers_are_never_0_or_1_and_follow_the_hash():
    seeds, positions = np.arange(-50, 50), np.arange(100)
    numbers = draw(seeds, positions)
    assert numbers.dtype == "float32"
    assert 0 < numbers.min() and numbers.max() < 1
    expected = [*map(random_oracle.uniform, seeds, positions)]
    np.testing.assert_array_equal(numbers, np.array(expected, "float32"))
    # The ends of the range: 23 bits of ones and of zeros.
    assert np.float32(2**23 - 0.5) * np.float32(2.0**-23) < 1


@pytest.mark.once
@pytest.mark.parametrize("over", ["seeds", "positions"])
def test_numbers_are_even(over):
    count, bins = 64_000, 64
    counted, fixed = np.arange(count), np.full(count, 11)
    numbers = draw(counted, fixed) if over == "seeds" else draw(fixed, counted)
    found = np.bincount((numbers * bins).astype(int), minlength=bins)
    chi_square = np.sum((found - count / bins) ** 2) / (count / bins)
    # 63 degrees of freedom: mean 63, standard deviation 11.
    assert 63 - 4 * 11.3 < chi_square < 63 + 4 * 11.3
    # Neighbours: a correlation of independent numbers is 0 +- 1 / sqrt(n).
    correlation = np.corrcoef(numbers[1:], numbers[:-1])[0, 1]
    assert abs(correlation) < 4 / count**0.5


@pytest.mark.once
def test_neighbouring_seeds_give_unrelated_streams():
    positions = np.arange(4096)
    one, two = draw([6], positions), draw([7], positions)
    assert abs(np.corrcoef(one, two)[0, 1]) < 4 / 4096**0.5
    assert np.isin(one, two).mean() < 0.01
