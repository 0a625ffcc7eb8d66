"""From router logits to router probabilities."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_moe.routing import get_score_function
from keras_moe.routing import sigmoid
from keras_moe.routing import softmax
from keras_moe.routing import sqrt_softplus
from keras_moe.routing.score_functions import get_log_score_function


def test_softmax_of_known_logits():
    logits = np.log(np.array([[1.0, 2.0, 5.0]], "float32"))
    np.testing.assert_allclose(
        ops.convert_to_numpy(softmax(logits)), [[0.125, 0.25, 0.625]], rtol=1e-6
    )


def test_sigmoid_of_known_logits():
    # 1 / (1 + exp(-log 3)) = 3 / 4
    logits = np.log(np.array([[1.0, 3.0, 1 / 3]], "float32"))
    np.testing.assert_allclose(
        ops.convert_to_numpy(sigmoid(logits)), [[0.5, 0.75, 0.25]], rtol=1e-6
    )


@pytest.mark.parametrize("function", [softmax, sigmoid])
def test_large_logits_do_not_overflow(function):
    scores = ops.convert_to_numpy(
        function(np.array([[1e4, -1e4, 1e4 - 1]], "float32"))
    )
    assert np.isfinite(scores).all()
    # softmax: exp(-1) of the largest; sigmoid: both saturated.
    expected = {softmax: 0.36788, sigmoid: 1.0}[function]
    assert scores[0, 2] / scores[0, 0] == pytest.approx(expected, rel=1e-4)


def test_softmax_over_one_expert_is_one_without_a_warning():
    np.testing.assert_array_equal(
        ops.convert_to_numpy(softmax(np.array([[3.0], [-7.0]], "float32"))),
        [[1.0], [1.0]],
    )


def test_functions_are_found_by_name_or_passed_through():
    assert get_score_function("softmax") is softmax
    assert get_score_function("sigmoid") is sigmoid
    assert get_score_function(ops.relu) is ops.relu


def test_the_same_functions_of_keras_are_known_by_their_logarithms():
    for function in (ops.softmax, keras.activations.softmax):
        assert get_score_function(function) is softmax
    for function in (ops.sigmoid, keras.activations.sigmoid):
        assert get_score_function(function) is sigmoid


@pytest.mark.parametrize("name", ["soft_max", None, 3])
def test_an_unknown_name_is_refused_with_the_known_ones(name):
    with pytest.raises(
        ValueError, match=r"\['sigmoid', 'softmax', 's"
    ) as error:
        get_score_function(name)
    assert f"score_function={name!r}" in str(error.value)


def test_sqrt_softplus_and_its_gradient_are_finite_on_either_side(vjp):
    logits = np.array([-1e4, -150.0, -30.0, -1.0, 0.0, 30.0, 1e4], "float32")
    value, (gradient,) = vjp(
        lambda x: sqrt_softplus(x), [logits], np.ones(7, "float32")
    )
    x = logits.astype("float64")
    softplus = np.logaddexp(0.0, x)
    np.testing.assert_allclose(value, np.sqrt(softplus), rtol=1e-5)
    # softplus' = sigmoid; exp(x / 2) / 2 where both underflow.
    sigmoid = np.exp(-np.logaddexp(0.0, -x))
    with np.errstate(invalid="ignore"):
        expected = sigmoid / (2 * np.sqrt(softplus))
    expected = np.where(x < -700, 0.0, expected)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5)
    logs, (gradient,) = vjp(
        get_log_score_function(sqrt_softplus), [logits], np.ones(7, "float32")
    )
    with np.errstate(divide="ignore"):
        expected = np.where(x < -700, x / 2, np.log(softplus) / 2)
    np.testing.assert_allclose(logs, expected, rtol=1e-5)
    assert np.all(np.isfinite(gradient))
