"""Write each row at a place of its own. The one file that uses `tf.raw_ops`.

On a CPU `tf.tensor_scatter_nd_update` copies all of its inputs, for every token
of a loop; there is no public function of the operation that adds in place.
"""

import tensorflow as tf
from keras import ops

from keras_moe.ops.tensorflow.xla_context import compiling_with_xla

add_in_place = getattr(tf.raw_ops, "ScatterNdNonAliasingAdd", None)


def write_rows(inputs, updates, starts, axis):
    sizes = ops.shape(updates)[: axis + 1]
    places = tf.meshgrid(*map(tf.range, sizes), indexing="ij")
    places[axis] += tf.reshape(starts, (-1, *[1] * axis))
    indices = tf.stack(places, axis=-1)
    if add_in_place is None or tf.executing_eagerly() or compiling_with_xla():
        return tf.tensor_scatter_nd_update(inputs, indices, updates)
    # To zeros it adds exactly.
    old = tf.gather_nd(inputs, indices)
    # Not before the last token's attention has read: what is new waits for it.
    with tf.control_dependencies([updates]):
        zeroed = add_in_place(input=inputs, indices=indices, updates=-old)
    return add_in_place(input=zeroed, indices=indices, updates=updates)
