"""Plain experts, as in the Switch Transformer."""

import keras

from keras_moe.experts.expert_bank import ExpertBank


@keras.saving.register_keras_serializable(package="keras_moe")
class FeedForwardExperts(ExpertBank):
    """E plain feed-forward networks: `act(x W_up) W_down`.

    The experts of Switch (https://arxiv.org/abs/2101.03961). `up.kernel` is
    (E, H, I), `down.kernel` (E, I, H).

    Args:
        num_experts: int E.
        intermediate_dim: int I, width inside one expert.
        activation: name or function. Defaults to `"silu"`.
        kernel_initializer: drawn per expert, with the fans of one expert.
        kernel_regularizer: optional, applied to the stacked kernels.
        kernel_constraint: optional, applied to the stacked kernels.
        use_bias: bool, biases `up.bias` (E, I) and `down.bias` (E, H).
        implementation: of the grouped product, as for
            `keras_moe.ops.grouped_matmul`.

    Call arguments:
        rows: float tensor of shape (R, H), sorted by expert, or (E, N, H).
        group_sizes: int32 tensor of shape (E,), or `None` for (E, N, H).

    Returns:
        Tensor of the shape of `rows`.

    Example:

    >>> import numpy as np
    >>> experts = FeedForwardExperts(num_experts=2, intermediate_dim=8)
    >>> rows = np.ones((3, 4), "float32")
    >>> tuple(experts(rows, np.array([1, 2], "int32")).shape)
    (3, 4)
    """

    def build(self, rows_shape, group_sizes_shape=None):
        hidden_dim, width = rows_shape[-1], self.intermediate_dim
        self.up = self.add_part("up", hidden_dim, width)
        self.down = self.add_part("down", width, hidden_dim)

    def parts(self):
        return self.up, self.down

    def feed_forward(self, rows, up, down):
        return down(self.activation(up(rows)))
