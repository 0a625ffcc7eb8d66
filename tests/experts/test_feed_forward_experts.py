"""Plain experts."""

import numpy as np
from keras import ops

from keras_moe.experts import FeedForwardExperts


def test_kernels_have_the_shapes_of_a_plain_feed_forward():
    experts = FeedForwardExperts(num_experts=2, intermediate_dim=3)
    experts.build((None, 4))
    assert tuple(experts.up.kernel.shape) == (2, 4, 3)
    assert tuple(experts.down.kernel.shape) == (2, 3, 4)
    paths = [weight.path for weight in experts.weights]
    assert paths == [f"{experts.name}/{part}/kernel" for part in ("up", "down")]


def test_a_hand_worked_expert():
    # relu(x * 10) * 3
    experts = FeedForwardExperts(1, 1, activation="relu")
    experts.build((None, 1))
    experts.up.kernel.assign([[[10.0]]])
    experts.down.kernel.assign([[[3.0]]])
    rows = np.array([[1.0], [-1.0]], "float32")
    outputs = ops.convert_to_numpy(experts(rows, np.array([2], "int32")))
    np.testing.assert_allclose(outputs, [[30.0], [0.0]])
