"""Limit a token's choice to the experts of its best groups."""

import dataclasses

import keras
import numpy as np
from keras import ops

from keras_moe.ops.plain_numbers import to_plain
from keras_moe.ops.sorting import top_k as stable_top_k
from keras_moe.routing.settings import Settings
from keras_moe.routing.validation import check_positive

GROUP_SCORES = ("max", "top2_sum")


@keras.saving.register_keras_serializable(package="keras_moe")
@dataclasses.dataclass(frozen=True)
class ExpertGroups(Settings):
    """Groups of experts among which a token chooses first.

    Args:
        num_groups: int, a divisor of E.
        num_limited: int, how many groups a token chooses within.
        score: `"max"` (DeepSeek-V2) or `"top2_sum"` (DeepSeek-V3), as for
            `limit_to_groups`.

    Raises:
        ValueError: If they do not fit together.

    Example:

    >>> ExpertGroups(num_groups=8, num_limited=4).score
    'max'
    """

    num_groups: int
    num_limited: int
    score: str = "max"

    def check(self):
        if self.score not in GROUP_SCORES:
            raise ValueError(
                f"Expected `score` to be one of {GROUP_SCORES}. "
                f"Received: {self}."
            )
        check_positive(num_groups=self.num_groups, num_limited=self.num_limited)
        if self.num_limited > self.num_groups:
            raise ValueError(
                "Expected `num_limited` between 1 and `num_groups`. "
                f"Received: {self}."
            )

    def check_experts(self, num_experts, top_k):
        """Raise unless the groups fit a router.

        Args:
            num_experts: int E.
            top_k: int K.

        Raises:
            ValueError: If the groups do not divide the experts, or leave too
                few to choose from.
        """
        received = (
            f"Received: num_experts={num_experts}, top_k={top_k}, {self}."
        )
        if num_experts % self.num_groups:
            raise ValueError(
                "Expected `num_groups` to divide `num_experts`. " + received
            )
        size = num_experts // self.num_groups
        if self.num_limited * size < top_k or (
            self.score == "top2_sum" and size < 2
        ):
            raise ValueError(
                "Expected groups with enough experts to choose from. "
                + received
            )


def limit_to_groups(
    scores,
    num_expert_groups,
    num_limited_groups,
    group_score,
    log_scores=None,
):
    """Rule out all experts but those of the best groups.

    Experts e with the same `e // (E / num_expert_groups)` are a group, meant
    to live on one machine. A group's score is its best expert's (DeepSeek-V2,
    https://arxiv.org/abs/2405.04434, section 2.2.2) or the sum of its best
    two (DeepSeek-V3, https://arxiv.org/abs/2412.19437, section 2.1.2).

    Args:
        scores: float32 tensor of shape (..., E).
        num_expert_groups: int, a divisor of E.
        num_limited_groups: int, how many groups stay.
        group_score: `"max"` or `"top2_sum"`.
        log_scores: optional float32 tensor of shape (..., E), logarithms that
            `"top2_sum"` adds up in place of `scores`, which may then be
            anything of the same order.

    Returns:
        float32 tensor of shape (..., E), -inf outside the best groups.

    Example:

    >>> import numpy as np
    >>> scores = np.array([[0.5, 0.0, 0.3, 0.4]], "float32")
    >>> np.array(limit_to_groups(scores, 2, 1, "max"))[0].tolist()
    [0.5, 0.0, -inf, -inf]
    >>> np.array(limit_to_groups(scores, 2, 1, "top2_sum"))[0, :2].tolist()
    [-inf, -inf]
    """
    num_expert_groups = to_plain(num_expert_groups)
    size = scores.shape[-1] // num_expert_groups
    if group_score == "max":
        best = ops.max(group_experts(scores, num_expert_groups), axis=-1)
    elif log_scores is None:
        best = ops.sum(
            _best_two(group_experts(scores, num_expert_groups)), axis=-1
        )
    else:
        # Scores that underflow would add up to the same 0 in every group.
        best = ops.logsumexp(
            _best_two(group_experts(log_scores, num_expert_groups)), axis=-1
        )  # (..., groups)
    kept = stable_top_k(best, num_limited_groups)
    group_of_expert = np.arange(scores.shape[-1], dtype="int32") // size
    # (..., kept, 1) == (E,) -> (..., kept, E)
    allowed = ops.any(ops.equal(kept[..., None], group_of_expert), axis=-2)
    return ops.where(allowed, scores, -float("inf"))


def group_experts(scores, num_expert_groups):
    """Split the experts' axis by group.

    Args:
        scores: tensor of shape (..., E).
        num_expert_groups: int, a divisor of E.

    Returns:
        Tensor of shape (..., groups, E / groups).

    Example:

    >>> import numpy as np
    >>> tuple(group_experts(np.zeros((3, 8)), 2).shape)
    (3, 2, 4)
    """
    # Neither reshaped nor one-hot encoded: with both of them, TensorFlow 2.21
    # aborts while it compiles a model's training step with XLA.
    # (..., E) -> (..., groups, E / groups)
    return ops.stack(ops.split(scores, num_expert_groups, axis=-1), axis=-2)


def _best_two(grouped):
    # Not `ops.top_k`: between devices XLA would gather the scores of all rows.
    return ops.take_along_axis(grouped, stable_top_k(grouped, 2), axis=-1)
