"""Numbers for how far two answers are from each other."""

import numpy as np
import pytest

from keras_moe.export.answers import Answer
from keras_moe.export.differences import largest_difference
from keras_moe.export.differences import mean_divergence

# NumPy alone.
pytestmark = pytest.mark.once


class Model:
    """What is read of a model."""

    backbone = None
    vocabulary_size = 2


def test_of_whole_numbers_and_text_it_is_a_share():
    assert largest_difference(np.array([1, 2]), np.array([1, 3])) == 0.5
    texts = np.array([b"a", b"bc", b"d", b""])
    assert largest_difference(texts, np.array([b"a", b"b", b"d", b""])) == 0.25


def test_the_divergence_is_that_of_real_tokens():
    model = Model()
    model.backbone = Model()
    # Probabilities of 1/2 and 1/2 against 1/4 and 3/4:
    # log(2) - log(3) / 2 = 0.14384, and nothing for the second token; the
    # third one is padding.
    expected = np.zeros((1, 3, 2))
    served = np.array([[[0.0, np.log(3.0)], [5.0, 5.0], [0.0, 9.0]]])
    answer = Answer(
        "serving_default",
        {"padding_mask": np.array([[1, 1, 0]])},
        {"output_0": served},
        {"output_0": expected},
    )
    divergence = mean_divergence(model, [answer])
    assert divergence == pytest.approx((np.log(2) - np.log(3) / 2) / 2)


def test_other_outputs_have_no_divergence():
    answer = Answer("serving_default", {}, {"y": np.ones(2)}, {"y": np.ones(2)})
    assert mean_divergence(Model(), [answer]) is None
