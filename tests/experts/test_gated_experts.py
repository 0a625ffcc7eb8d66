"""Experts with a gate."""

import numpy as np
from keras import ops

from keras_moe.experts import GatedExperts
from keras_moe.ops import swiglu


def test_gate_and_up_lie_side_by_side_gate_first():
    experts = GatedExperts(num_experts=2, intermediate_dim=3)
    experts.build((None, 4))
    assert tuple(experts.gate_up.kernel.shape) == (2, 4, 6)
    assert tuple(experts.down.kernel.shape) == (2, 3, 4)
    paths = [weight.path for weight in experts.weights]
    assert paths == [
        f"{experts.name}/{part}/kernel" for part in ("gate_up", "down")
    ]


def test_a_hand_worked_expert():
    # relu(x * 2) * (x * 10) * 3, gate 2, up 10, down 3; x = 1 and x = -1.
    experts = GatedExperts(1, 1, activation="relu")
    experts.build((None, 1))
    experts.gate_up.kernel.assign([[[2.0, 10.0]]])
    experts.down.kernel.assign([[[3.0]]])
    rows = np.array([[1.0], [-1.0]], "float32")
    outputs = ops.convert_to_numpy(experts(rows, np.array([2], "int32")))
    np.testing.assert_allclose(outputs, [[60.0], [0.0]])


def test_a_gate_with_two_branches_by_hand():
    # (x * 2) * silu(x * 5) * (x * 10) * 3; x = 1 and x = -1.
    experts = GatedExperts(1, 1, activation=swiglu)
    experts.build((None, 1))
    assert tuple(experts.gate_up.kernel.shape) == (1, 1, 3)
    experts.gate_up.kernel.assign([[[2.0, 5.0, 10.0]]])
    experts.down.kernel.assign([[[3.0]]])
    rows = np.array([[1.0], [-1.0]], "float32")
    outputs = ops.convert_to_numpy(experts(rows, np.array([2], "int32")))
    sigmoid = 1.0 / (1.0 + np.exp(-5.0))
    expected = [[60.0 * 5.0 * sigmoid], [-60.0 * 5.0 * (1.0 - sigmoid)]]
    np.testing.assert_allclose(outputs, expected, rtol=1e-5)
