"""The router whose number of experts follows the token."""

import keras
from keras import ops

from keras_moe.layers.top_k_router import TopKRouter
from keras_moe.ops.plain_numbers import plain_numbers
from keras_moe.routing.combine_weights import CombineWeights
from keras_moe.routing.plans import keep_pairs
from keras_moe.routing.score_functions import get_score_function
from keras_moe.routing.score_functions import normalize


@keras.saving.register_keras_serializable(package="keras_moe")
class TopPRouter(TopKRouter):
    """Gives each token as many experts as it needs to be sure.

    Experts are taken in the order of their probabilities until these add up
    to `top_p`. So a token that the router is sure of costs one expert, and a
    difficult one up to `top_k`. What is not needed goes nowhere (index E) and
    is not computed. A loss that lowers the router's entropy keeps it from
    choosing all experts for every token.

    Args:
        num_experts: int E.
        top_k: int K, experts per token at most; the paper has E. Defaults to
            2.
        top_p: float in (0, 1]. The paper's 0.4.
        combine_weights: optional `keras_moe.routing.CombineWeights`. `None`
            means the probabilities as they are, as in the paper.
        **kwargs: as for `TopKRouter`.

    Raises:
        ValueError: As `TopKRouter`, and for a `top_p` out of range.

    Example:

    >>> import numpy as np
    >>> router = TopPRouter(3, 3, top_p=0.75, kernel_initializer="identity")
    >>> probs = [[0.8, 0.1, 0.1], [0.3, 0.1, 0.6], [0.2, 0.45, 0.35]]
    >>> plan = router(np.log([probs]))
    >>> np.array(plan.expert_indices)[0].tolist()  # 0.8, 0.6 + 0.3, 0.45 + 0.35
    [[0, 3, 3], [2, 0, 3], [1, 2, 3]]

    References:
        Huang et al., 2024, https://arxiv.org/abs/2403.07652, its top-p
        routing.
    """

    can_replay = False
    source = "Huang et al., 2024, top-p routing"

    @plain_numbers
    def __init__(
        self,
        num_experts,
        top_k=2,
        *,
        top_p=0.4,
        combine_weights=None,
        **kwargs,
    ):
        super().__init__(
            num_experts,
            top_k,
            combine_weights=combine_weights or CombineWeights(normalize=False),
            **kwargs,
        )
        if not 0 < top_p <= 1:
            raise ValueError(
                "Expected `top_p` above 0 and at most 1. "
                f"Received: top_p={top_p}. With 1 a token has `top_k` experts."
            )
        self.top_p = top_p

    def adjust(self, plan, inputs, training):
        logits, noisy = plan.scores.logits, plan.scores.noisy_logits
        logits = logits if noisy is None else noisy
        probs = get_score_function(self.score_function)(logits)
        shares = normalize(probs, logits)
        shares = ops.take_along_axis(shares, plan.expert_indices, axis=-1)
        before = ops.cumsum(shares, axis=-1) - shares
        is_first = ops.arange(self.top_k, dtype="int32") == 0
        kept = ops.logical_or(is_first, before < self.top_p)
        plan = keep_pairs(plan, kept, self.num_experts)
        return super().adjust(plan, inputs, training)

    def get_config(self):
        return {**super().get_config(), "top_p": self.top_p}
