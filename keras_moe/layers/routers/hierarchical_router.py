"""The router that chooses groups of experts first."""

import math

import keras
from keras import ops

from keras_moe.layers.top_k_router import TopKRouter
from keras_moe.ops.plain_numbers import plain_numbers
from keras_moe.ops.sorting import top_k as stable_top_k
from keras_moe.routing.expert_groups import group_experts
from keras_moe.routing.score_functions import softmax
from keras_moe.routing.token_choice import choose_top_k


@keras.saving.register_keras_serializable(package="keras_moe")
class HierarchicalRouter(TopKRouter):
    """Chooses groups of experts, and experts within each of them.

    A first softmax scores the groups, a second one the experts of each group,
    and an expert's probability is the product of both. The best groups are
    taken, and the same number of experts from each. A level's probabilities
    are divided by the sum of the chosen ones if there are several.

    Args:
        num_experts: int E.
        top_k: int K, experts per token in all groups. Defaults to 2.
        num_groups: optional int, a divisor of E. `None` means the one that is
            closest to the root of E.
        num_limited: optional int, how many groups a token goes to, a divisor
            of K. `None` means the smallest that leaves enough experts.
        combine_weights: as for `TopKRouter`; `normalize` applies to each
            level.
        **kwargs: as for `TopKRouter`; `expert_groups` and `logit_noise` have
            no effect.

    Weights: `group_kernel` (H, groups) and `kernel` (H, E).

    Raises:
        ValueError: As `TopKRouter`, and if numbers do not divide each other
            or a group has too few experts.

    Example:

    >>> import numpy as np
    >>> router = HierarchicalRouter(4, 2, num_groups=2)
    >>> router.build((None, None, 2))
    >>> _ = router.group_kernel.assign(np.log([[3.0, 1.0], [1.0, 1.0]]))
    >>> _ = router.kernel.assign(np.log([[3.0, 1, 1, 1], [1, 1, 1, 3.0]]))
    >>> tokens = np.array([[[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]], "float32")
    >>> plan = router(tokens)  # groups 3/4, 1/2, 3/4; one of them each
    >>> np.array(plan.expert_indices)[0].tolist()
    [[0, 1], [0, 1], [0, 1]]
    >>> probs = keras.ops.convert_to_numpy(plan.scores.probs)
    >>> probs[0, 0].round(4).tolist()  # 3/4 * 3/4, 3/4 * 1/4, 1/4 * 1/2
    [0.5625, 0.1875, 0.125, 0.125]
    >>> weights = keras.ops.convert_to_numpy(plan.combine_weights)
    >>> weights[0].round(4).tolist()  # 3/4 times 3/4 and 1/4, and so on
    [[0.5625, 0.1875], [0.25, 0.25], [0.5625, 0.1875]]

    References:
        Shazeer et al., 2017, https://arxiv.org/abs/1701.06538, appendix B,
        equation 12, without noise.
    """

    can_replay = False
    source = "Shazeer et al., 2017, appendix B, equation 12"

    @plain_numbers
    def __init__(
        self,
        num_experts,
        top_k=2,
        *,
        num_groups=None,
        num_limited=None,
        **kwargs,
    ):
        super().__init__(num_experts, top_k, **kwargs)
        if num_groups is None:
            num_groups = _middle_divisor(num_experts)
        if num_limited is None:
            num_limited = _fewest_groups(top_k, num_experts // num_groups)
        received = (
            f"Received: num_experts={num_experts}, top_k={top_k}, "
            f"num_groups={num_groups}, num_limited={num_limited}."
        )
        if num_experts % num_groups or top_k % num_limited:
            raise ValueError(
                "Expected `num_groups` to divide `num_experts`, and "
                f"`num_limited` to divide `top_k`. {received}"
            )
        size = num_experts // num_groups
        if num_limited > num_groups or top_k // num_limited > size:
            raise ValueError(
                "Expected `num_limited` groups of at least "
                f"`top_k / num_limited` experts. {received} Choose fewer "
                "groups, or more of them for a token."
            )
        self.num_groups = num_groups
        self.num_limited = num_limited

    def build_logits(self, hidden_dim):
        super().build_logits(hidden_dim)
        self.group_kernel = self.add_kernel(
            "group_kernel", (hidden_dim, self.num_groups)
        )

    def compute_logits(self, inputs):
        groups = ops.matmul(inputs, self.group_kernel)
        groups = ops.log_softmax(groups, axis=-1)[..., None]
        within = group_experts(super().compute_logits(inputs), self.num_groups)
        return _flatten(groups + ops.log_softmax(within, axis=-1))

    def choose(  # type: ignore[override]
        self, logits, inputs, padding_mask, training
    ):
        within = group_experts(logits, self.num_groups)
        groups = ops.logsumexp(within, axis=-1)  # (..., groups)
        num_within = self.top_k // self.num_limited
        kept_groups = _best(groups, self.num_limited)
        kept_within = _best(within, num_within)
        kept = ops.logical_and(kept_groups[..., None], kept_within)
        plan = choose_top_k(
            logits,
            self.top_k,
            self.score_function,
            self.combine_weights,
            selection_logits=ops.where(_flatten(kept), logits, -float("inf")),
        )
        if self.combine_weights.normalize is False:
            return plan
        gates = self._softmax(groups, kept_groups, self.num_limited)[..., None]
        gates = gates * self._softmax(within, kept_within, num_within)
        weights = ops.take_along_axis(
            _flatten(gates), plan.expert_indices, axis=-1
        )
        weights = weights * self.combine_weights.scale
        if plan.input_weights is not None:
            return plan._replace(input_weights=weights)
        return plan._replace(combine_weights=weights)

    def _softmax(self, logits, kept, num_kept):
        # With one choice its weight would be a constant.
        if num_kept > 1 or self.combine_weights.normalize:
            logits = ops.where(kept, logits, -float("inf"))
        return softmax(logits)

    def get_config(self):
        return {
            **super().get_config(),
            "num_groups": self.num_groups,
            "num_limited": self.num_limited,
        }


def _middle_divisor(number):
    divisors = [each for each in range(1, number + 1) if number % each == 0]
    return min(divisors, key=lambda each: abs(math.log(each**2 / number)))


def _fewest_groups(top_k, size):
    for num_limited in range(1, top_k):
        if top_k % num_limited == 0 and top_k // num_limited <= size:
            return num_limited
    return top_k


def _best(logits, number):
    """Mark the best ones of the last axis."""
    if number == logits.shape[-1]:
        return ops.ones(ops.shape(logits), dtype="bool")
    best = stable_top_k(logits, number)
    everyone = ops.arange(logits.shape[-1], dtype="int32")
    # (..., number, 1) == (X,) -> (..., number, X)
    return ops.any(ops.equal(best[..., None], everyone), axis=-2)


def _flatten(within):
    # (..., groups, E / groups) -> (..., E); not reshaped, as `group_experts`.
    return ops.concatenate(ops.unstack(within, axis=-2), axis=-1)
