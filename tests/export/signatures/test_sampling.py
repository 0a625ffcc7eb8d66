"""The choice of tokens against a NumPy rendering, and at its edges."""

import functools

import keras
import numpy as np
import pytest
from keras import ops

from keras_moe.export.signatures.sampling import choose_tokens
from tests.export.signatures import random_oracle

VOCABULARY = 12
NAMES = ("temperature", "top_k", "top_p", "seed", "position")
DTYPES = ("float32", "int32", "float32", "int32", "int32")


@functools.cache
def compiled_choice():
    """One program for each shape on JAX, not one for each call."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(choose_tokens)
    return choose_tokens


def choose(logits, *options):
    arrays = [
        ops.convert_to_tensor(np.asarray(each, dtype))
        for each, dtype in zip(options, DTYPES, strict=True)
    ]
    chosen = compiled_choice()(
        ops.convert_to_tensor(logits), **dict(zip(NAMES, arrays, strict=True))
    )
    assert tuple(chosen.shape) == (len(logits),)
    return ops.convert_to_numpy(chosen).tolist()


def make_logits(rows, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(scale=2.0, size=(rows, VOCABULARY)).astype("float32")


def test_every_row_has_its_own_wishes():
    rng = np.random.default_rng(1)
    logits = make_logits(200)
    options = (
        rng.choice([0.0, -1.0, 0.3, 1.0, 2.5], 200),
        rng.choice([0, -3, 1, 4, 12, 99], 200),
        rng.choice([1.0, 0.0, -0.5, 1.5, np.nan, 0.05, 0.5, 0.9], 200),
        rng.integers(-(2**31), 2**31, 200),
        rng.integers(0, 5000, 200),
    )
    expected = [
        random_oracle.choose_token(*row)
        for row in zip(logits, *options, strict=True)
    ]
    chosen = choose(logits, *options)
    # Where float32 may fall on the other side of an edge, nobody is right.
    clear = np.array([margin > 1e-5 for _, margin in expected])
    assert clear.mean() > 0.95
    tokens = np.array([token for token, _ in expected])
    np.testing.assert_array_equal(np.array(chosen)[clear], tokens[clear])
    # Not the most probable one everywhere.
    assert np.mean(tokens == logits.argmax(axis=-1)) < 0.9


def test_options_of_one_number_are_those_of_all_rows():
    logits = make_logits(4)
    position = np.arange(4)
    one = choose(logits, [0.9], [6], [0.8], [3], position)
    repeated = ([each] * 4 for each in (0.9, 6, 0.8, 3))
    assert one == choose(logits, *repeated, position)


def test_the_lower_id_comes_first_among_equals():
    logits = np.array([[1.0, 3.0, 3.0, 3.0]], "float32")
    assert choose(logits, [0.0], [0], [1.0], [0], [0]) == [1]
    assert choose(logits, [1.0], [1], [1.0], [0], [0]) == [1]


def test_tokens_come_as_often_as_they_are_probable():
    probs = np.array([0.5, 0.3, 0.15, 0.05])
    logits = np.tile(np.log(probs), (4000, 1)).astype("float32")
    for top_k, top_p, expected in (
        (0, 1.0, probs),
        (2, 1.0, np.array([0.5, 0.3, 0, 0]) / 0.8),
        (0, 0.79, np.array([0.5, 0.3, 0, 0]) / 0.8),  # 0.5 are not enough.
        (0, 0.81, np.array([0.5, 0.3, 0.15, 0]) / 0.95),
        (3, 0.5, np.array([1.0, 0, 0, 0])),  # 0.5 / 0.95 are.
    ):
        chosen = choose(logits, [1.0], [top_k], [top_p], np.arange(4000), [17])
        shares = np.bincount(chosen, minlength=4) / 4000
        # Five standard deviations of a share of 4000: at most 0.04.
        np.testing.assert_allclose(shares, expected, atol=0.04)
        assert np.all(shares[expected == 0] == 0)


@pytest.mark.parametrize("temperature", [0.0, 1.0, 1e-30, 1e30, np.inf])
def test_no_logits_lead_out_of_the_vocabulary(temperature):
    nan, inf = np.nan, np.inf
    logits = np.array(
        [
            [nan, nan, nan, nan],
            [-inf, -inf, -inf, -inf],
            [nan, 1.0, -inf, 2.0],
            [0.0, inf, 0.0, inf],
            [3e38, -3e38, 0.0, 0.0],
        ],
        "float32",
    )
    seeds = np.arange(5)
    for top_p in (1.0, 0.5):
        chosen = choose(logits, [temperature], [0], [top_p], seeds, seeds)
        assert all(0 <= each < 4 for each in chosen)
        if temperature == 0.0:
            assert chosen == [0, 0, 3, 1, 0]
        elif temperature <= 1.0:
            assert chosen[2] in (1, 3) and chosen[3] in (1, 3)
