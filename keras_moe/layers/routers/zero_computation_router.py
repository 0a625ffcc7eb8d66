"""The router with experts that compute nothing."""

import keras
from keras import ops

from keras_moe.layers.top_k_router import TopKRouter
from keras_moe.ops.plain_numbers import plain_numbers
from keras_moe.routing.validation import check_not_negative


@keras.saving.register_keras_serializable(package="keras_moe")
class ZeroComputationRouter(TopKRouter):
    """Lets tokens choose experts that cost nothing in place of others.

    The last of the E experts are, in this order: identity experts, which
    return the token; constant experts, which return
    `a_1 * token + a_2 * constant` with `a = softmax(token W)`; and zero
    experts. They are scored and balanced like all others, but the layer's
    bank does not hold them, and only pairs of the others are computed.

    Args:
        num_experts: int E, those that compute nothing included.
        top_k: int K, experts per token. Defaults to 2.
        num_identity: int.
        num_constant: int.
        num_zero: int.
        **kwargs: as for `TopKRouter`.

    Weights: those of `TopKRouter`; with constant experts (n of them)
    `constants` (n, H) and `constant_kernel` (n, H, 2).

    Raises:
        ValueError: As `TopKRouter`, and if a number is negative or no expert
            is left that computes, or the weights apply to inputs.

    Example:

    >>> import numpy as np
    >>> router = ZeroComputationRouter(
    ...     3, 1, num_identity=1, kernel_initializer="identity"
    ... )
    >>> tokens = np.array([[[1.0, 0, 0], [0, 4.0, 0], [0, 0, 9.0]]], "float32")
    >>> plan = router(tokens)
    >>> np.array(plan.expert_indices)[0, :, 0].tolist()  # the last is free
    [0, 1, 2]
    >>> outputs = keras.ops.convert_to_numpy(plan.free_outputs)
    >>> outputs[0].round(2).tolist()  # times its probability, 0.9998
    [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 9.0]]

    References:
        Jin et al., 2024 (MoE++), https://arxiv.org/abs/2410.07348, zero,
        copy and constant experts. Meituan, 2025 (LongCat-Flash),
        https://arxiv.org/abs/2509.01322, has identity experts alone.
    """

    source = "Jin et al., 2024 (MoE++), zero-computation experts"

    @plain_numbers
    def __init__(
        self,
        num_experts,
        top_k=2,
        *,
        num_identity=1,
        num_constant=0,
        num_zero=0,
        **kwargs,
    ):
        super().__init__(num_experts, top_k, **kwargs)
        check_not_negative(
            num_identity=num_identity,
            num_constant=num_constant,
            num_zero=num_zero,
        )
        self.num_identity = num_identity
        self.num_constant = num_constant
        self.num_zero = num_zero
        self.num_free_experts = num_identity + num_constant + num_zero
        if self.num_free_experts >= num_experts:
            raise ValueError(
                "Expected at least one expert that computes. Received: "
                f"num_experts={num_experts}, of which "
                f"{self.num_free_experts} compute nothing. Count all of them "
                "in `num_experts`."
            )
        if self.combine_weights.apply_to == "inputs":
            raise ValueError(
                "Expected weights of the outputs: experts that compute nothing "
                f"have no inputs. Received: {self.combine_weights}. Leave "
                "`apply_to` out."
            )

    def build_logits(self, hidden_dim):
        super().build_logits(hidden_dim)
        if self.num_constant:
            self.constants = self.add_weight(
                name="constants",
                shape=(self.num_constant, hidden_dim),
                initializer="zeros",
            )
            self.constant_kernel = self.add_kernel(
                "constant_kernel", (self.num_constant, hidden_dim, 2)
            )

    def adjust(self, plan, inputs, training):
        plan = super().adjust(plan, inputs, training)
        first = self.num_experts - self.num_free_experts
        first_constant = first + self.num_identity
        outputs = None
        if self.num_identity:
            outputs = inputs * _weight(plan, first, first_constant)
        for index in range(self.num_constant):
            expert = first_constant + index
            mixed = self._mix(inputs, index) * _weight(plan, expert, expert + 1)
            outputs = mixed if outputs is None else outputs + mixed
        return plan._replace(free_outputs=outputs)

    def _mix(self, inputs, index):
        shares = ops.matmul(inputs, self.constant_kernel[index])
        shares = ops.softmax(shares, axis=-1)
        return (
            shares[..., :1] * inputs + shares[..., 1:] * self.constants[index]
        )

    def get_config(self):
        return {
            **super().get_config(),
            "num_identity": self.num_identity,
            "num_constant": self.num_constant,
            "num_zero": self.num_zero,
        }


def _weight(plan, first, end):
    """Add up a token's weights (..., 1) of the experts in a range."""
    indices = plan.expert_indices
    chosen = ops.logical_and(indices >= first, indices < end)
    weights = ops.where(chosen, plan.combine_weights, 0.0)
    return ops.sum(weights, axis=-1, keepdims=True)
