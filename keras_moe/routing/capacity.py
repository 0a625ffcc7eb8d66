"""How many tokens an expert accepts."""

import dataclasses
from fractions import Fraction

import keras
from keras import ops

from keras_moe.ops.widen import int32
from keras_moe.routing.settings import Settings
from keras_moe.routing.slot_assignment import CAUSAL_PRIORITIES
from keras_moe.routing.slot_assignment import assign_slots
from keras_moe.routing.slot_assignment import check_order
from keras_moe.routing.slot_assignment import check_priority
from keras_moe.routing.slot_assignment import grouped_shape
from keras_moe.routing.validation import check_positive


@keras.saving.register_keras_serializable(package="keras_moe")
@dataclasses.dataclass(frozen=True)
class Capacity(Settings):
    """How many tokens of a group an expert accepts, and which.

    Args:
        factor: optional float, while training: `ceil(factor * S * K / E)`
            slots per expert and group, see `expert_capacity`. 1.0 is room
            for a perfectly balanced group; `None` is dropless.
        eval_factor: optional float, the same outside training.
        slots: optional int, slots per expert and group whatever its size, in
            training and outside, in place of both factors.
        priority: `"position"`, `"score"`, `"pair_score"` or `"random"`, which
            tokens of a full expert keep their place, see `assign_slots`.
            Outside training, `"random"` means `"position"`.
        multiple_of: int, the number of slots is rounded up to a multiple of
            it (4 in V-MoE).
        order: `"choice"`, all first choices before any second one, or
            `"token"`, a token's choices together, see `assign_slots`.
        renormalize: bool, whether a token's kept weights are scaled to the
            sum that all its weights had (DeepSpeed, and NLLB's weights that
            are normalized after dropping).
        seed: optional int, for the priority `"random"`.

    Raises:
        ValueError: If a number is not positive, a name is unknown, or factors
            and slots are given.

    Example:

    >>> capacity = Capacity(factor=1.25, eval_factor=2.0)
    >>> capacity.per_expert(16, top_k=1, num_experts=8, training=True)
    3
    """

    factor: float | None = None
    eval_factor: float | None = None
    slots: int | None = None
    priority: str = "position"
    multiple_of: int = 1
    order: str = "choice"
    renormalize: bool = False
    seed: int | None = None

    @property
    def is_causal(self):
        """Whether later tokens never take an earlier token's slot.

        Not so where a better token comes first. (Of several choices, all
        first ones come before any second one; that much is common in
        decoders.)
        """
        return self.priority in CAUSAL_PRIORITIES

    def check(self):
        check_priority(self.priority)
        check_order(self.order)
        check_positive(multiple_of=self.multiple_of)
        factors = {"factor": self.factor, "eval_factor": self.eval_factor}
        factors = {k: v for k, v in factors.items() if v is not None}
        for name, factor in factors.items():
            _check_factor(name, factor)
        if self.slots is None:
            return
        check_positive(slots=self.slots)
        if factors:
            raise ValueError(
                "Expected `slots` or factors, not both. "
                f"Received: {self}. Leave one out."
            )

    def per_expert(self, group_size, top_k, num_experts, training):
        """Compute the slots of each expert for each group.

        Args:
            group_size: int S, or a scalar tensor where the length is unknown
                while tracing.
            top_k: int K.
            num_experts: int E.
            training: bool.

        Returns:
            C as an int, or as a scalar int32 tensor if `group_size` is one;
            `None` for dropless routing.
        """
        factor = self.factor if training else self.eval_factor
        if self.slots is not None:
            # A token chooses an expert once, so a group of S fills at most S.
            if ops.is_tensor(group_size):
                slots = ops.minimum(int32(group_size), int32(self.slots))
            else:
                slots = min(int(group_size), self.slots)
        elif factor is not None:
            slots = expert_capacity(factor, group_size, top_k, num_experts)
        else:
            return None
        if self.multiple_of == 1:
            return slots
        return (
            (slots + self.multiple_of - 1)
            // self.multiple_of
            * (self.multiple_of)
        )

    def seed_generator(self):
        """Make what `limit` draws from; `None` where nothing is drawn.

        Returns:
            `keras.random.SeedGenerator`, or `None`.
        """
        if self.priority != "random":
            return None
        return keras.random.SeedGenerator(self.seed)

    def limit(self, plan, num_experts, training, seed=None):
        """Drop the pairs for which there is no slot.

        Args:
            plan: `TokenChoice`, as for `assign_slots`.
            num_experts: int E.
            training: bool.
            seed: what `seed_generator` made, or an int.

        Returns:
            `TokenChoice`; the plan itself where nothing can be dropped.
        """
        _, group_size, top_k = grouped_shape(plan.expert_indices)
        slots = self.per_expert(group_size, top_k, num_experts, training)
        if slots is None:
            return plan
        priority = self.priority
        if priority == "random" and not training:
            priority = "position"
        limited = assign_slots(
            plan, num_experts, slots, priority, self.order, seed
        )
        if not self.renormalize:
            return limited
        before, kept = plan.combine_weights, limited.combine_weights
        total = ops.sum(kept, axis=-1, keepdims=True)
        scale = ops.sum(before, axis=-1, keepdims=True) / ops.where(
            total > 0, total, 1.0
        )
        return limited._replace(combine_weights=kept * scale)


def expert_capacity(capacity_factor, group_size, top_k, num_experts):
    """Compute the slots that each expert has for each group of tokens.

    `max(1, ceil(capacity_factor * S * K / E))`: a factor of 1.0 is room for
    a perfectly balanced group. This is the definition of V-MoE
    (https://arxiv.org/abs/2106.05974, section 2.3) without its rounding to a
    multiple of 4; Switch (https://arxiv.org/abs/2101.03961, equation 3) is
    the case K = 1. Computed in integers: 1.1 * 10 slots are 11, not the 12
    that rounding up the float product gives.

    Args:
        capacity_factor: positive float.
        group_size: int S, or a scalar tensor where the length is unknown
            while tracing.
        top_k: int K.
        num_experts: int E.

    Returns:
        C as an int, or as a scalar int32 tensor if `group_size` is one.

    Raises:
        ValueError: If `capacity_factor` is not positive.

    Example:

    >>> expert_capacity(1.25, group_size=16, top_k=1, num_experts=8)
    3
    """
    _check_factor("capacity_factor", capacity_factor)
    # Python's integers do not overflow, NumPy's do.
    factor = Fraction(float(capacity_factor)).limit_denominator(10_000)
    numerator = factor.numerator * int(top_k)
    denominator = factor.denominator * int(num_experts)
    if ops.is_tensor(group_size):
        slots = ops.cast(group_size, "int64") * numerator
        slots = (slots + denominator - 1) // denominator
        return ops.maximum(int32(slots), int32(1))
    return max(1, -(-int(group_size) * numerator // denominator))


def _check_factor(name, factor):
    if not 0 < factor < float("inf"):  # also NaN
        raise ValueError(
            f"Expected `{name}` to be positive and finite, or `None` for "
            f"dropless routing. Received: {name}={factor}"
        )
