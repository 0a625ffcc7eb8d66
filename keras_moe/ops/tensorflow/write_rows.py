"""Write each row at a place of its own on TensorFlow: by indices."""

import tensorflow as tf
from keras import ops

from keras_moe.ops.tensorflow.xla_context import compiling_with_xla


def write_rows(inputs, updates, starts, axis):
    sizes = ops.shape(updates)[: axis + 1]
    places = tf.meshgrid(*map(tf.range, sizes), indexing="ij")
    places[axis] += tf.reshape(starts, (-1, *[1] * axis))
    indices = tf.stack(places, axis=-1)
    if tf.executing_eagerly() or compiling_with_xla():
        return tf.tensor_scatter_nd_update(inputs, indices, updates)
    # On a CPU that operation copies all of its inputs for every token of a
    # loop. This one adds in place, and to zeros it adds exactly.
    old = tf.gather_nd(inputs, indices)
    add = tf.raw_ops.ScatterNdNonAliasingAdd
    without = add(input=inputs, indices=indices, updates=-old)
    return add(input=without, indices=indices, updates=updates)
