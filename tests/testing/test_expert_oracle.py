"""One expert: the activations against Keras, gradients against differences."""

import keras
import numpy as np
import pytest

from keras_moe.testing import expert
from keras_moe.testing import expert_gradients
from keras_moe.testing.expert_oracle import activate
from keras_moe.testing.expert_oracle import activation_slope

VALUES = np.array([-30.0, -3.0, -1.0, -0.1, 0.2, 1.0, 2.5, 30.0])

KERAS_ACTIVATIONS = {
    "silu": keras.activations.silu,
    "gelu": keras.activations.gelu,
    "gelu_tanh": lambda x: keras.activations.gelu(x, approximate=True),
    "relu": keras.activations.relu,
}


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        # At 1: 1 / (1 + exp(-1)); the normal distribution function; its
        # approximation tanh(sqrt(2 / pi) * 1.044715) / 2 + 1 / 2; itself.
        ("silu", 0.7310585786300049),
        ("gelu", 0.8413447460685429),
        ("gelu_tanh", 0.8411919906082768),
        ("relu", 1.0),
    ],
)
def test_activations_have_their_textbook_value(activation, expected):
    value = activate(np.array([1.0]), activation)
    np.testing.assert_allclose(value, [expected], rtol=1e-14)


@pytest.mark.parametrize("activation", list(KERAS_ACTIVATIONS))
def test_activations_are_those_of_keras(activation):
    inputs = keras.ops.convert_to_tensor(VALUES.astype("float32"))
    outputs = KERAS_ACTIVATIONS[activation](inputs)
    np.testing.assert_allclose(
        activate(VALUES.astype("float32"), activation),
        keras.ops.convert_to_numpy(outputs),
        rtol=1e-5,
        atol=1e-6,  # float32 loses the tails of the two gelus
    )


@pytest.mark.parametrize("activation", list(KERAS_ACTIVATIONS))
def test_activation_slopes_are_derivatives(activation, numerical_gradient):
    for x in VALUES:
        slope = activation_slope(np.array([x]), activation)
        expected = numerical_gradient(
            lambda v: activate(v, activation)[0], np.array([x])
        )
        np.testing.assert_allclose(slope, expected, rtol=1e-7, atol=1e-8)


def test_activations_do_not_overflow():
    for activation in KERAS_ACTIVATIONS:
        values = activate(np.array([-1e4, 1e4]), activation)
        np.testing.assert_allclose(values, [0.0, 1e4], atol=1e-300)


def test_a_gated_expert_by_hand():
    # relu(2) * 3 = 6 in the only inner unit, then -1 and 10 times that.
    output = expert(
        np.array([1.0]),
        np.array([[2.0]]),
        np.array([[3.0]]),
        np.array([[-1.0, 10.0]]),
        "relu",
    )
    np.testing.assert_array_equal(output, [-6.0, 60.0])


def test_the_gate_is_what_the_activation_sees():
    # relu closes a negative gate; a negative up value passes.
    one = np.array([1.0])
    eye = np.array([[1.0]])
    assert expert(one, -eye, eye, eye, "relu") == 0.0
    assert expert(one, eye, -eye, eye, "relu") == -1.0
    assert expert(one, None, -eye, eye, "relu") == 0.0


@pytest.mark.parametrize("activation", list(KERAS_ACTIVATIONS))
@pytest.mark.parametrize("gated", [True, False])
def test_expert_gradients_are_derivatives(
    activation, gated, make_mixture, numerical_gradient
):
    mixture = make_mixture(num_experts=1, gated=gated, shape=(1, 1, 4), inner=7)
    arguments = [
        mixture.inputs[0, 0],
        mixture.gate_kernel[0] if gated else None,
        mixture.up_kernel[0],
        mixture.down_kernel[0],
    ]
    cotangent = np.array([0.3, -1.0, 2.0, 0.7])
    gradients = expert_gradients(*arguments, activation, cotangent)
    for position, gradient in enumerate(gradients):
        if arguments[position] is None:
            assert gradient is None
            continue

        def loss(value, position=position):
            changed = list(arguments)
            changed[position] = value
            return expert(*changed, activation) @ cotangent

        expected = numerical_gradient(loss, arguments[position])
        np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-8)
        assert np.any(gradient != 0.0)


def test_an_unknown_activation_is_refused():
    eye = np.eye(1)
    with pytest.raises(ValueError, match="gelu_tanh.*Received.*tanhh"):
        expert(np.ones(1), None, eye, eye, "tanhh")
