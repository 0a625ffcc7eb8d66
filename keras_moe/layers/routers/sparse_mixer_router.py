"""The router that draws experts and estimates the gradient of the draw."""

import keras
from keras import ops

from keras_moe.layers.top_k_router import TopKRouter
from keras_moe.ops.plain_numbers import plain_numbers
from keras_moe.ops.sorting import top_k as stable_top_k
from keras_moe.routing.logit_noise import draw_gumbel
from keras_moe.routing.plans import RouterScores
from keras_moe.routing.plans import TokenChoice
from keras_moe.routing.score_functions import get_score_function
from keras_moe.routing.score_functions import softmax
from keras_moe.routing.validation import check_not_negative


@keras.saving.register_keras_serializable(package="keras_moe")
class SparseMixerRouter(TopKRouter):
    """Draws a token's experts while training, one after the other.

    Each choice is made among the experts whose logits are close to the best
    one's: `best - logit <= 2 * epsilon * max(|logit|, best)`. Its weight is
    the softmax over these alone. While training it is drawn from that
    softmax; an expert that is not the best one weighs a third, with
    probability 3/4, and the gradient is that of the whole weight (Heun's
    third-order method). Outside training the best expert is taken. Then the
    expert is ruled out and the next one chosen.

    Args:
        num_experts: int E.
        top_k: int K, experts per token. Defaults to 2.
        epsilon: float, how close logits have to be.
        **kwargs: as for `TopKRouter`; arguments of the choice and of the
            combine weights have no effect.

    Example:

    >>> import numpy as np
    >>> router = SparseMixerRouter(
    ...     3, epsilon=0.1, kernel_initializer="identity"
    ... )
    >>> tokens = [[10.0, 9.0, 1.0], [1.0, 10.0, 5.0], [1.0, 4.0, 10.0]]
    >>> plan = router(np.array([tokens], "float32"))
    >>> np.array(plan.expert_indices)[0].tolist()
    [[0, 1], [1, 2], [2, 1]]
    >>> weights = keras.ops.convert_to_numpy(plan.combine_weights)
    >>> weights[0].round(3).tolist()[1:]  # nothing is close to the best
    [[1.0, 1.0], [1.0, 1.0]]
    >>> weights[0, 0].round(3)  # 1 / (1 + exp(-1)), then nothing is close
    array([0.731, 1.   ], dtype=float32)

    References:
        Liu et al., 2024 (GRIN), https://arxiv.org/abs/2409.12136, SparseMixer-
        v2, as Phi-3.5-MoE has it.
        Liu et al., 2023, https://arxiv.org/abs/2310.00811, SparseMixer.
    """

    can_replay = False
    source = "Liu et al., 2024 (GRIN), SparseMixer-v2; Phi-3.5-MoE"

    @plain_numbers
    def __init__(self, num_experts, top_k=2, *, epsilon=0.01, **kwargs):
        super().__init__(num_experts, top_k, **kwargs)
        check_not_negative(epsilon=epsilon)
        self.epsilon = epsilon

    def choose(  # type: ignore[override]
        self, logits, inputs, padding_mask, training
    ):
        remaining = logits
        choices = []
        for _ in range(self.top_k):
            index, weight = self._draw(logits, remaining, training)
            choices.append((index, weight))
            experts = ops.arange(self.num_experts, dtype="int32")
            remaining = ops.where(experts == index, -float("inf"), remaining)
        indices, weights = (
            ops.concatenate(each, axis=-1)
            for each in zip(*choices, strict=True)
        )
        scores = RouterScores(
            logits,
            get_score_function(self.score_function)(logits),
            ops.ones(ops.shape(logits)[:-1], dtype="bool"),
        )
        return TokenChoice(indices, weights, scores=scores)

    def _draw(self, logits, remaining, training):
        """Choose one expert: index (..., 1) and weight (..., 1)."""
        best = stable_top_k(remaining, 1)
        peak = ops.take_along_axis(remaining, best, axis=-1)
        scale = ops.maximum(ops.abs(logits), peak)
        is_close = peak - remaining <= 2 * self.epsilon * scale
        close = ops.where(is_close, remaining, -float("inf"))
        gates = softmax(close)
        if not training:
            return best, ops.take_along_axis(gates, best, axis=-1)
        noise = draw_gumbel(ops.shape(logits), self.seed_generator)
        index = stable_top_k(close + noise, 1)
        weight = ops.take_along_axis(gates, index, axis=-1)
        chance = keras.random.uniform(
            ops.shape(weight), dtype="float32", seed=self.seed_generator
        )
        is_third = ops.logical_and(index != best, chance < 0.75)
        missing = ops.where(is_third, 2.0 / 3.0 * weight, 0.0)
        return index, weight - ops.stop_gradient(missing)

    def get_config(self):
        return {**super().get_config(), "epsilon": self.epsilon}
