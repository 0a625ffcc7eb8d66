"""Load, idle experts, drops by position."""

import numpy as np
import pytest

from keras_moe.analysis import dead_experts
from keras_moe.analysis import dropped_by_position
from keras_moe.analysis import effective_experts
from keras_moe.analysis import expert_load

pytestmark = pytest.mark.once


def test_load_counts_real_choices_of_each_layer():
    # (B=1, L=3, layers=2, K=2), the last token masked, -1 and 4 nowhere.
    routed = np.array([[[0, 1], [3, -1]], [[0, 2], [3, 4]], [[1, 1], [1, 1]]])[
        None
    ]
    mask = np.array([[True, True, False]])
    load = expert_load(routed, 4, mask)
    assert load.tolist() == [[0.5, 0.25, 0.25, 0], [0, 0, 0, 1]]
    assert dead_experts(load) == [[3], [0, 1, 2]]
    # exp(1.5 log 2) and exp(0).
    np.testing.assert_allclose(
        effective_experts(load), [2**1.5, 1], rtol=1e-15 * 8
    )


def test_a_layer_without_choices_has_no_load():
    assert expert_load(np.full((1, 2, 1, 1), -1), 2).tolist() == [[0, 0]]


def test_drops_are_shares_of_the_choices_at_a_position():
    # (B=2, L=2, layers=1, K=2); the second row's last token is padding.
    chosen = np.array([[[0, 1], [0, 1]], [[1, 0], [2, 2]]])[:, :, None]
    kept = np.array([[[0, 1], [2, 1]], [[1, 2], [2, 2]]])[:, :, None]
    # Position 0: one of four pairs; position 1: one of two.
    assert dropped_by_position(chosen, kept, 2).tolist() == [[0.25, 0.5]]


def test_choices_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="Record both in one run"):
        dropped_by_position(np.zeros((1, 2, 1, 2)), np.zeros((1, 2, 1, 1)), 2)
