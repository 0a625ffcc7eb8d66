"""From the chosen scores to the weights of the experts' outputs."""

import dataclasses

import keras
from keras import ops

from keras_moe.routing.score_functions import get_log_score_function
from keras_moe.routing.score_functions import normalize
from keras_moe.routing.score_functions import normalize_logs
from keras_moe.routing.settings import Settings


@keras.saving.register_keras_serializable(package="keras_moe")
@dataclasses.dataclass(frozen=True)
class CombineWeights(Settings):
    """How a token's K chosen scores become weights.

    Args:
        normalize: bool, whether they are divided by their sum (Mixtral,
            https://arxiv.org/abs/2401.04088, section 2.1). `None` means
            K > 1: with K = 1 the weight would be a constant, which cuts the
            router's gradient (Switch, https://arxiv.org/abs/2101.03961,
            equation 2).
        power: float p, they are divided by their p-norm (DBRX). 1 is their
            sum.
        scale: float, multiplies the weights (DeepSeek's
            `routed_scaling_factor`).
        apply_to: `"outputs"`, or `"inputs"`: the weights multiply what the
            experts see, not what they return (Llama 4).

    Raises:
        ValueError: If `power` is not positive, or `apply_to` is unknown.

    Example:

    >>> CombineWeights(normalize=False, scale=2.5).scale
    2.5
    """

    normalize: bool | None = None
    power: float = 1.0
    scale: float = 1.0
    apply_to: str = "outputs"

    def check(self):
        if self.apply_to not in ("outputs", "inputs"):
            raise ValueError(
                'Expected `apply_to` to be "outputs" or "inputs". '
                f"Received: {self}."
            )
        if not self.power > 0:
            raise ValueError(
                f"Expected `power` to be positive. Received: {self}. Use 1 to "
                "divide by the sum."
            )

    def of(self, logits, probs, expert_indices, score_function):
        """Compute the weights.

        Args:
            logits: float32 tensor of shape (..., E).
            probs: float32 tensor of shape (..., E).
            expert_indices: int32 tensor of shape (..., K).
            score_function: function that made probabilities of logits.

        Returns:
            float32 tensor of shape (..., K).
        """
        weights = ops.take_along_axis(probs, expert_indices, axis=-1)
        normalized = self.normalize
        if normalized is None:
            normalized = weights.shape[-1] > 1
        if normalized:
            chosen = ops.take_along_axis(logits, expert_indices, axis=-1)
            log_scores = get_log_score_function(score_function)
            if log_scores is None:
                weights = normalize(weights, chosen, self.power)
            else:
                weights = normalize_logs(log_scores(chosen), self.power)
        return weights if self.scale == 1.0 else weights * self.scale
