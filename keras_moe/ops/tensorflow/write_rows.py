"""Write each row at a place of its own on TensorFlow: one scatter."""

import math

import tensorflow as tf
from keras import ops


def write_rows(inputs, updates, starts, axis):
    shape, length = ops.shape(inputs), ops.shape(updates)[axis]
    # The axes between, such as heads, become rows as well.
    between = math.prod(shape[1:axis])
    positions = tf.repeat(starts, between)[:, None] + tf.range(length)
    rows = tf.range(tf.shape(positions)[0])[:, None]
    indices = tf.stack(
        [tf.broadcast_to(rows, tf.shape(positions)), positions], -1
    )
    outputs = tf.tensor_scatter_nd_update(
        tf.reshape(inputs, (-1, *shape[axis:])),
        indices,
        tf.reshape(updates, (-1, length, *shape[axis + 1 :])),
    )
    outputs = tf.reshape(outputs, shape)
    outputs.set_shape(inputs.shape)
    return outputs
