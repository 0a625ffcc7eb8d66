"""The grouped products on TensorFlow."""

import tensorflow as tf

from keras_moe.ops.blocks import grouped_outer as blocked_outer
from keras_moe.ops.blocks import grouped_rows as blocked_rows
from keras_moe.ops.grouped_products import GroupedProducts
from keras_moe.ops.implementations import choose_implementation
from keras_moe.ops.tensorflow.xla_context import compiling_with_xla


def grouped_rows(
    inputs, kernels, group_sizes, transpose_kernels, implementation
):
    products = _products(implementation, inputs)
    return products.rows(inputs, kernels, group_sizes, transpose_kernels)


def grouped_outer(inputs, cotangents, group_sizes, implementation):
    products = _products(implementation, inputs)
    return products.outer(inputs, cotangents, group_sizes)


def split_rows(inputs, kernels, group_sizes, transpose_kernels):
    *groups, rest = _split(inputs, group_sizes)
    outer = kernels.shape[1] if transpose_kernels else kernels.shape[2]
    products = [
        tf.matmul(rows, kernel, transpose_b=transpose_kernels)
        for rows, kernel in zip(groups, tf.unstack(kernels), strict=True)
    ]
    past_the_sum = tf.zeros((tf.shape(rest)[0], outer), inputs.dtype)
    return tf.concat([*products, past_the_sum], axis=0)


def split_outer(inputs, cotangents, group_sizes):
    rows = _split(inputs, group_sizes)[:-1]
    columns = _split(cotangents, group_sizes)[:-1]
    products = [
        tf.matmul(left, right, transpose_a=True)
        for left, right in zip(rows, columns, strict=True)
    ]
    return tf.stack(products)


IMPLEMENTATIONS = {
    "blocks": GroupedProducts(blocked_rows, blocked_outer),
    "split": GroupedProducts(split_rows, split_outer),
}


def _products(implementation, inputs):
    if implementation == "auto":
        choice = choose_implementation(
            "tensorflow",
            "cpu",
            inputs.dtype.name,
            inputs.shape[0],
            compiling_with_xla(),
        )
        implementation = choice.implementation
    return IMPLEMENTATIONS[implementation]


def _split(rows, group_sizes):
    """Split rows into E groups and the rest that belongs to none."""
    rest = tf.shape(rows)[0] - tf.reduce_sum(group_sizes)
    sizes = tf.concat([group_sizes, rest[None]], axis=0)
    return tf.split(rows, sizes, num=group_sizes.shape[0] + 1)
