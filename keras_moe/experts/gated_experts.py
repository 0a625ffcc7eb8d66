"""Experts with a gate: SwiGLU and its relatives."""

import keras

from keras_moe.experts.expert_bank import ExpertBank
from keras_moe.ops.gated_activation import gate_branches
from keras_moe.ops.gated_activation import gated_activation


@keras.saving.register_keras_serializable(package="keras_moe")
class GatedExperts(ExpertBank):
    """E gated feed-forward networks: `(act(x W_gate) * (x W_up)) W_down`.

    With `activation="silu"` this is SwiGLU (Shazeer, 2020,
    https://arxiv.org/abs/2002.05202, equation 6). Gate and up kernels are
    side by side in `gate_up.kernel` (E, H, 2I), gate first, so that one
    product serves both; `down.kernel` is (E, I, H).

    Args:
        num_experts: int E.
        intermediate_dim: int I, width inside one expert, per branch.
        activation: name or function. Defaults to `"silu"`. With
            `keras_moe.ops.swiglu` the gate is twice as wide, and
            `gate_up.kernel` (E, H, 3I).
        kernel_initializer: drawn per expert, with the fans of one expert.
        kernel_regularizer: optional, applied to the stacked kernels.
        kernel_constraint: optional, applied to the stacked kernels.
        use_bias: bool, biases `gate_up.bias` (E, 2I), `down.bias` (E, H).
        implementation: of the grouped product, as for
            `keras_moe.ops.grouped_matmul`.

    Call arguments:
        rows: float tensor of shape (R, H), sorted by expert, or (E, N, H).
        group_sizes: int32 tensor of shape (E,), or `None` for (E, N, H).

    Returns:
        Tensor of the shape of `rows`.

    Example:

    >>> import numpy as np
    >>> experts = GatedExperts(num_experts=2, intermediate_dim=8)
    >>> rows = np.ones((3, 4), "float32")
    >>> tuple(experts(rows, np.array([1, 2], "int32")).shape)
    (3, 4)
    """

    def build(self, rows_shape, group_sizes_shape=None):
        hidden_dim, width = rows_shape[-1], self.intermediate_dim
        num_branches = gate_branches(self.activation) + 1
        self.gate_up = self.add_part(
            "gate_up", hidden_dim, num_branches * width, num_branches
        )
        self.down = self.add_part("down", width, hidden_dim)

    def parts(self):
        return self.gate_up, self.down

    def feed_forward(self, rows, gate_up, down):
        return down(gated_activation(gate_up(rows), self.activation))
