"""Stable sorting, ranking and counting on TensorFlow."""

import tensorflow as tf


def top_k(scores, k):
    # `tf.math.top_k` puts the lower index first among equals, by contract.
    return tf.math.top_k(tf.stop_gradient(scores), k=k).indices


def stable_argsort(values, largest=None):
    return tf.argsort(tf.stop_gradient(values), axis=-1, stable=True)


def invert_permutation(order):
    order = tf.convert_to_tensor(order)
    if order.shape.rank == 1:
        # Not `tf.math.invert_permutation`, which tf2onnx turns into int64.
        length = tf.shape(order)
        return tf.scatter_nd(order[:, None], tf.range(length[0]), length)
    return stable_argsort(order)


def count(values, num_values):
    values = tf.reshape(values, [-1])
    # XLA's bincount needs its entries in range: the last bin is the waste.
    values = tf.minimum(values, num_values)
    counts = tf.math.unsorted_segment_sum(
        tf.ones_like(values), values, num_values + 1
    )
    return counts[:num_values]
