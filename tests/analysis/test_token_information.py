"""What the token id says about the expert."""

import numpy as np
import pytest

from keras_moe.analysis import token_information

pytestmark = pytest.mark.once


def test_held_out_choices_are_compared_with_those_of_the_other_rows():
    token_ids = np.array([[0, 0, 0, 1, 1], [0, 0, 1, 2, 2]])
    # Row 0: token 0 goes to 2, 2, 1, token 1 to 1, 1. So token 0 tells
    # expert 2, token 1 tells expert 1, and 1 is the most frequent.
    routed = np.array([[2, 2, 1, 1, 1], [2, 0, 1, 1, 0]])[:, :, None, None]
    found = token_information(token_ids, routed, 3, vocabulary_size=3)
    # Row 1: 2 yes, 0 no, 1 yes; token 2 is unknown, so expert 1: yes, no.
    assert found.explained.tolist() == [3 / 5]
    assert found.baseline.tolist() == [2 / 5]


def test_information_is_that_of_the_definition():
    generator = np.random.default_rng(0)
    token_ids = generator.integers(0, 6, (8, 50))
    noise = generator.integers(0, 4, (8, 50, 3, 2))
    routed = np.where(noise < 2, token_ids[..., None, None] % 4, noise)
    routed[0, :5] = 4  # Nowhere.
    mask = generator.random((8, 50)) < 0.9
    found = token_information(token_ids, routed, 4, 6, mask)
    for layer in range(3):
        real = mask & (routed[:, :, layer, 0] < 4)
        joint = np.zeros((6, 4))
        for token, expert in zip(
            token_ids[real], routed[:, :, layer, 0][real], strict=True
        ):
            joint[token, expert] += 1 / real.sum()
        # sum p(t, e) log(p(t, e) / (p(t) p(e)))
        apart = joint.sum(1, keepdims=True) * joint.sum(0)
        some = joint > 0
        information = np.sum(joint[some] * np.log((joint / apart)[some]))
        entropy = -np.sum(joint.sum(0) * np.log(joint.sum(0)))
        # float64 sums of 24 numbers below 2.
        close = {"rtol": 0, "atol": 1e-13}
        np.testing.assert_allclose(
            found.mutual_information[layer], information, **close
        )
        np.testing.assert_allclose(
            found.expert_entropy[layer], entropy, **close
        )
        np.testing.assert_allclose(
            found.conditional_entropy[layer], entropy - information, **close
        )


def test_a_single_row_cannot_be_held_out():
    with pytest.raises(ValueError, match="shorter windows"):
        token_information(np.zeros((1, 4), int), np.zeros((1, 4, 1, 1)), 2, 1)
