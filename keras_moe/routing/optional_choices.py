"""Choices after the first that a token may do without."""

import dataclasses

import keras
from keras import ops

from keras_moe.routing.plans import keep_pairs
from keras_moe.routing.settings import Settings

POLICIES = ("threshold", "random")


@keras.saving.register_keras_serializable(package="keras_moe")
@dataclasses.dataclass(frozen=True)
class OptionalChoices(Settings):
    """When a token goes to its second and later choices.

    What counts is a choice's share: its weight over the sum of the token's
    weights. A choice that is left out goes nowhere and is not computed; the
    other weights stay as they are.

    Args:
        policy: `"random"`: while training a choice is kept with probability
            `min(1, share / threshold)`; outside training all are kept
            (GShard, https://arxiv.org/abs/2006.16668, algorithm 1, which
            compares twice the share with a uniform number: a threshold of
            0.5). `"threshold"`: a choice is kept if its share is above the
            threshold (Mesh TensorFlow, where it is 0.2).
        threshold: float in (0, 1].

    Raises:
        ValueError: If the policy is unknown or the threshold out of range.

    Example:

    >>> import numpy as np
    >>> from keras_moe.routing import choose_top_k
    >>> scores = np.array([[0.5, 0.4, 0.1], [0.8, 0.1, 0.1], [0.1, 0.2, 0.7]])
    >>> plan = choose_top_k(np.log(scores), top_k=2)
    >>> plan = OptionalChoices("threshold", 0.2).limit(plan, num_experts=3)
    >>> np.array(plan.expert_indices).tolist()  # shares 4/9, 1/9, 2/9
    [[0, 1], [0, 3], [2, 1]]
    """

    policy: str = "random"
    threshold: float = 0.5

    def check(self):
        if self.policy not in POLICIES:
            raise ValueError(
                f"Expected `policy` to be one of {POLICIES}. Received: {self}."
            )
        if not 0 < self.threshold <= 1:
            raise ValueError(
                "Expected `threshold` above 0 and at most 1. "
                f"Received: {self}. It is a share of the token's weights."
            )

    def limit(self, plan, num_experts, training=False, seed=None):
        """Send the choices that are not needed nowhere.

        Args:
            plan: `TokenChoice`, best choice first.
            num_experts: int E.
            training: bool.
            seed: optional `keras.random.SeedGenerator`, for `"random"`.

        Returns:
            `TokenChoice`.
        """
        if self.policy == "random" and not training:
            return plan
        weights = plan.combine_weights
        if plan.input_weights is not None:
            weights = plan.input_weights
        total = ops.sum(weights, axis=-1, keepdims=True)
        share = weights / ops.maximum(total, 1e-30)
        threshold = self.threshold
        if self.policy == "random":
            threshold = self.threshold * keras.random.uniform(
                ops.shape(share), dtype="float32", seed=seed
            )
        is_first = ops.arange(weights.shape[-1], dtype="int32") == 0
        kept = ops.logical_or(is_first, share > threshold)
        return keep_pairs(plan, kept, num_experts)
