"""Functions that bring their own gradient."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_moe.ops import custom_vjp


def wrong_on_purpose(x, y, scale):
    return scale * x * y


def backward(x, y, scale, cotangent):
    # Not the derivative: shows that nothing differentiates the forward pass.
    return 10.0 * cotangent, 100.0 * scale * x * cotangent


def test_the_given_gradient_is_used(vjp):
    function = custom_vjp(wrong_on_purpose, backward)
    x, y = np.array([1.0, 2.0], "float32"), np.array([3.0, 5.0], "float32")
    scale = ops.convert_to_tensor(2.0)
    value, gradients = vjp(
        lambda x, y: function((x, y), (scale,)), (x, y), np.float32([1.0, 7.0])
    )
    np.testing.assert_allclose(value, [6.0, 20.0])
    np.testing.assert_allclose(gradients[0], [10.0, 70.0])
    # 100 * 2 * x * cotangent
    np.testing.assert_allclose(gradients[1], [200.0, 2800.0])


def test_gradients_pass_through_to_what_comes_before(vjp):
    square = custom_vjp(
        lambda x: x * x, lambda x, cotangent: (2.0 * x * cotangent,)
    )
    # d (3x)^2 / dx = 18 x
    _, gradients = vjp(
        lambda x: square((3.0 * x,), ()), (np.float32([2.0]),), np.ones(1)
    )
    np.testing.assert_allclose(gradients[0], [36.0])


def test_integer_constants_get_no_gradient(vjp):
    take = custom_vjp(
        lambda x, index: x[index], lambda x, index, cotangent: (x * cotangent,)
    )
    index = ops.convert_to_tensor(1)
    value, gradients = vjp(
        lambda x: take((x,), (index,)), (np.float32([4.0, 9.0]),), np.float32(2)
    )
    np.testing.assert_allclose(value, 9.0)
    np.testing.assert_allclose(gradients[0], [8.0, 18.0])


# Dynamo's own: it makes an instance to look at the class.
@pytest.mark.filterwarnings("ignore:.*should not be instantiated")
def test_a_function_may_be_compiled(vjp, compiled):
    function = custom_vjp(wrong_on_purpose, backward)
    scale = ops.convert_to_tensor(2.0)
    value, gradients = vjp(
        compiled(lambda x, y: function((x, y), (scale,))),
        (np.float32([1.0]), np.float32([3.0])),
        np.ones(1),
    )
    np.testing.assert_allclose(value, [6.0])
    np.testing.assert_allclose(np.ravel(gradients), [10.0, 200.0])


def test_a_gradient_has_the_dtype_of_its_tensor(vjp):
    # A float16 tensor and a float32 one: the product and what comes back are
    # float32. No backend takes a gradient of another dtype.
    dtypes = {}

    def backward(x, y, cotangent):
        dtypes["cotangent"] = keras.backend.standardize_dtype(cotangent.dtype)
        return ops.multiply(y, cotangent), ops.multiply(x, cotangent)

    multiply = custom_vjp(ops.multiply, backward)
    _, gradients = vjp(
        lambda x, y: multiply((x * x, y), ()),
        (np.float16([3.0]), np.float32([5.0])),
        np.ones(1),
    )
    assert dtypes == {"cotangent": "float32"}
    # 2 x y and x^2
    np.testing.assert_allclose(gradients[0], [30.0])
    np.testing.assert_allclose(gradients[1], [9.0])
