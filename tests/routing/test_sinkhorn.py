"""Sinkhorn's iterations: against scaling a matrix by turns."""

import numpy as np
import pytest
from keras import ops

from keras_moe.routing import sinkhorn_logits


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def numpy(tensor):
    return np.array(ops.convert_to_numpy(tensor))


def scale_by_turns(logits, num_iterations):
    """Megatron's loop, over a fixed number of turns; (S, E), float64."""
    cost = np.exp(logits.astype("float64"))
    rows, columns = np.ones(cost.shape[0]), np.ones(cost.shape[1])
    for _ in range(num_iterations):
        rows = 1 / (len(rows) * (cost @ columns))
        columns = 1 / (len(columns) * (rows @ cost))
    return rows[:, None] * cost * columns


@pytest.mark.parametrize("num_iterations", [1, 16])
def test_tokens_rank_experts_as_the_scaled_matrix_does(num_iterations):
    logits = draw(2, 6, 4)
    mask = np.arange(6) < np.array([[6], [5]])
    seen = np.where(mask[..., None], logits, np.float32(1e4))
    balanced = numpy(sinkhorn_logits(seen, num_iterations, mask))
    for group in range(2):
        expected = scale_by_turns(logits[group][mask[group]], num_iterations)
        actual = np.exp(balanced[group][mask[group]].astype("float64"))
        # The same up to a factor for each token.
        actual /= actual.sum(axis=1, keepdims=True)
        expected /= expected.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(actual, expected, rtol=1e-5)
    if num_iterations > 1:
        # Columns end equal: 6 tokens on 4 experts.
        np.testing.assert_allclose(
            numpy(ops.softmax(balanced[0])).sum(axis=0), 1.5, rtol=1e-4
        )


@pytest.mark.sweep
def test_large_logits_and_groups_of_padding_stay_finite():
    logits = 1e4 * draw(2, 5, 3)
    mask = np.array([[True] * 5, [False] * 5])
    assert np.isfinite(numpy(sinkhorn_logits(logits, 8, mask))).all()
    assert np.isfinite(numpy(sinkhorn_logits(logits[:, :1, :1], 8))).all()


@pytest.mark.sweep
def test_a_batch_without_groups_is_balanced_as_a_whole():
    logits = draw(7, 3)
    np.testing.assert_allclose(
        numpy(sinkhorn_logits(logits, 4)),
        numpy(sinkhorn_logits(logits[None], 4))[0],
        rtol=1e-6,
    )
