"""Two checkpoints on one text."""

import numpy as np
import pytest

from keras_moe.analysis import routing_agreement

pytestmark = pytest.mark.once


def test_agreement_is_over_tokens_that_both_route():
    # (B=1, L=4, layers=1): the third is nowhere, the fourth masked.
    one = np.array([[0, 1], [2, 3], [4, 4], [0, 0]])[None, :, None]
    other = np.array([[0, 3], [3, 2], [1, 2], [1, 1]])[None, :, None]
    mask = np.array([[True, True, True, False]])
    found = routing_agreement(one, other, 4, mask)
    assert found.first.tolist() == [1 / 2]
    # {0, 1} and {0, 3}: 1 / 3; {2, 3} twice: 1.
    np.testing.assert_allclose(found.jaccard, [(1 / 3 + 1) / 2], rtol=1e-15)


def test_models_of_another_k_can_be_compared():
    one = np.array([[0], [1]])[None, :, None]
    other = np.array([[0, 1], [0, 1]])[None, :, None]
    found = routing_agreement(one, other, 2)
    assert found.first.tolist() == [0.5]
    assert found.jaccard.tolist() == [0.5]


def test_a_model_of_other_layers_is_refused():
    with pytest.raises(ValueError, match="checkpoints of one run"):
        routing_agreement(np.zeros((1, 2, 3, 1)), np.zeros((1, 2, 2, 1)), 2)
