"""Plain experts."""

import numpy as np
from keras import ops

from keras_moe.experts import FeedForwardExperts


def test_kernels_have_the_shapes_of_a_plain_feed_forward():
    experts = FeedForwardExperts(num_experts=2, intermediate_dim=3)
    experts.build((None, 4))
    assert tuple(experts.up_kernel.shape) == (2, 4, 3)
    assert tuple(experts.down_kernel.shape) == (2, 3, 4)
    names = [weight.name for weight in experts.weights]
    assert names == ["up_kernel", "down_kernel"]


def test_a_hand_worked_expert():
    # relu(x * 10) * 3
    experts = FeedForwardExperts(1, 1, activation="relu")
    experts.build((None, 1))
    experts.up_kernel.assign([[[10.0]]])
    experts.down_kernel.assign([[[3.0]]])
    rows = np.array([[1.0], [-1.0]], "float32")
    outputs = ops.convert_to_numpy(experts(rows, np.array([2], "int32")))
    np.testing.assert_allclose(outputs, [[30.0], [0.0]])
