"""The inside of SwiGLU on TensorFlow."""

from keras import ops


def gated_silu(gate_up):
    gate, up = ops.split(gate_up, 2, axis=-1)
    return ops.silu(gate) * up
