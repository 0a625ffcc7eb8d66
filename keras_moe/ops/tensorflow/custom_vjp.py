"""A function with its own gradient, on TensorFlow."""

import tensorflow as tf


def custom_vjp(forward, backward):
    def apply(differentiable, constants):
        @tf.custom_gradient
        def function(*tensors):
            def gradient(cotangent):
                return list(backward(*tensors, *constants, cotangent))

            return forward(*tensors, *constants), gradient

        return function(*map(tf.convert_to_tensor, differentiable))

    return apply
