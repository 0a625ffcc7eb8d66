"""Whether XLA compiles. The one file that imports `tensorflow.python`.

TensorFlow enters an XLA context while it traces a function with
`jit_compile=True`, and has no public way to ask for it. Keras' models nest
such functions, so their own arguments do not tell either.
"""

try:
    from tensorflow.python.ops.control_flow_util import (
        GraphOrParentsInXlaContext as in_xla_context,
    )
except ImportError:
    in_xla_context = None

import tensorflow as tf


def compiling_with_xla():
    """Tell whether XLA will compile what is being traced.

    Returns:
        bool; `True` as well if this TensorFlow does not say, because what is
        written for XLA runs without it too.

    Example:

    >>> compiling_with_xla()
    False
    >>> bool(tf.function(compiling_with_xla, jit_compile=True)())
    True
    """
    if in_xla_context is None:
        return True
    return in_xla_context(tf.compat.v1.get_default_graph())
