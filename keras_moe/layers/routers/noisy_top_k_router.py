"""The top-k router whose noise is learned."""

import keras
from keras import ops

from keras_moe.layers.top_k_router import TopKRouter
from keras_moe.ops.plain_numbers import plain_numbers
from keras_moe.routing.validation import check_not_negative


@keras.saving.register_keras_serializable(package="keras_moe")
class NoisyTopKRouter(TopKRouter):
    """Adds normal noise to the logits, as large as a second projection says.

    While training the logits are `x W + epsilon * softplus(x W_noise)` with
    standard normal `epsilon`; experts are chosen by them and weighted with
    them. So experts close to the best are tried, and the number of tokens on
    each has a gradient: the plan's scores tell a load loss the noisy logits
    and the standard deviation.

    Args:
        num_experts: int E.
        top_k: int K, experts per token. Defaults to 2.
        min_stddev: float, added to the standard deviation. 0.01 as in the
            authors' code; the paper has 0.
        kernel_initializer: of both kernels. Zeros at first, as in the paper's
            appendix A: all experts start equally busy.
        **kwargs: as for `TopKRouter`, without `logit_noise`.

    Raises:
        ValueError: As `TopKRouter`, and for a `logit_noise`.

    Example:

    >>> import numpy as np
    >>> router = NoisyTopKRouter(3, kernel_initializer="identity", seed=0)
    >>> logits = np.array([[[2.0, 1.0, 0.0], [0.0, 5.0, 4.0], [4.0, 0.0, 5.0]]])
    >>> plan = router(logits)  # without noise outside training
    >>> np.array(plan.expert_indices)[0].tolist()
    [[0, 1], [1, 2], [2, 0]]
    >>> plan = router(logits, training=True)
    >>> stddev = keras.ops.convert_to_numpy(plan.scores.noise_stddev)
    >>> stddev[0, 0].round(3)  # softplus(2, 1, 0) + 0.01
    array([2.137, 1.323, 0.703], dtype=float32)

    References:
        Shazeer et al., 2017, https://arxiv.org/abs/1701.06538, equations 3
        to 5 and appendix A.
    """

    source = "Shazeer et al., 2017, equations 3 to 5"

    @plain_numbers
    def __init__(
        self,
        num_experts,
        top_k=2,
        *,
        min_stddev=0.01,
        kernel_initializer="zeros",
        **kwargs,
    ):
        super().__init__(
            num_experts,
            top_k,
            kernel_initializer=kernel_initializer,
            **kwargs,
        )
        check_not_negative(min_stddev=min_stddev)
        if self.logit_noise is not None:
            raise ValueError(
                "Expected no `logit_noise`: this router learns its noise. "
                f"Received: {self.logit_noise}. Use `TopKRouter` for it."
            )
        self.min_stddev = min_stddev

    def build_logits(self, hidden_dim):
        super().build_logits(hidden_dim)
        self.noise_kernel = self.add_kernel(
            "noise_kernel", (hidden_dim, self.num_experts)
        )

    def noise_stddev(self, inputs):
        raw = ops.matmul(inputs, self.noise_kernel)
        return ops.softplus(raw) + self.min_stddev

    def get_config(self):
        return {**super().get_config(), "min_stddev": self.min_stddev}
