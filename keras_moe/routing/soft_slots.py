"""Soft slots: experts see weighted averages of tokens."""

from typing import Any
from typing import NamedTuple

from keras import ops

from keras_moe.ops.widen import int32
from keras_moe.routing.expert_choice import LOWEST
from keras_moe.routing.groups import to_groups
from keras_moe.routing.plans import RouterScores
from keras_moe.routing.plans import hide_in_scores
from keras_moe.routing.score_functions import softmax


class SoftSlots(NamedTuple):
    """Every expert has P slots, each a weighted average of a group's tokens.

    Nothing is chosen and nothing dropped, so all of it has a gradient.

    Attributes:
        dispatch_weights: float32 tensor of shape (G, S, E, P). What a slot
            holds of each token; sums to 1 over the tokens. 0 for padding.
        combine_weights: float32 tensor of shape (G, S, E, P). What a token
            gets of each slot's output; sums to 1 over the slots. 0 for
            padding.
        tokens_per_expert: int32 tensor of shape (G, E), the slots: P.
        scores: `RouterScores`. Its probabilities are the sums of
            `combine_weights` over an expert's slots, of shape (G, S, E).
    """

    dispatch_weights: Any
    combine_weights: Any
    tokens_per_expert: Any
    scores: Any = None

    def complete(self, padding_mask, num_experts):
        """Send padding nowhere: what a `Router` does with a plan.

        Args:
            padding_mask: optional bool tensor of shape (...), True = real
                token.
            num_experts: int E.

        Returns:
            `SoftSlots`.
        """
        if padding_mask is None:
            return self
        real, padding_mask = to_groups(padding_mask[..., None], padding_mask)
        real = ops.cast(real, "bool")[..., None]  # (G, S, 1, 1)
        return self._replace(
            dispatch_weights=ops.where(real, self.dispatch_weights, 0.0),
            combine_weights=ops.where(real, self.combine_weights, 0.0),
            scores=hide_in_scores(self.scores, padding_mask),
        )

    def reached(self):
        """Return which tokens some expert sees, bool (G, S): all real ones."""
        return self.scores.padding_mask


def mix_tokens(slot_logits, padding_mask=None):
    """Fill every slot with a weighted average of the group's tokens.

    The dispatch weights are a softmax over the tokens, the combine weights a
    softmax over all slots of all experts (Puigcerver et al., 2023,
    https://arxiv.org/abs/2308.00951, equations 1 and 2).

    Args:
        slot_logits: float32 tensor of shape (..., E, P). A row of the batch is
            a group; rank 3 is a single group.
        padding_mask: optional bool tensor of shape (...), True = real token.
            Padding is in no slot.

    Returns:
        `SoftSlots`.

    Example:

    >>> import numpy as np
    >>> logits = np.log(np.array([[1, 3], [1, 1], [2, 4]], "float32"))
    >>> plan = mix_tokens(logits[..., None])  # one slot for each expert
    >>> [round(float(w), 4) for w in plan.dispatch_weights[0, :, 0, 0]]
    [0.25, 0.25, 0.5]
    >>> [round(float(w), 4) for w in plan.combine_weights[0, 0, :, 0]]
    [0.25, 0.75]
    """
    all_real = padding_mask is None
    logits = ops.convert_to_tensor(slot_logits, "float32")
    num_experts, num_slots = logits.shape[-2:]
    flat = ops.reshape(
        logits, (*ops.shape(logits)[:-2], num_experts * num_slots)
    )
    flat, padding_mask = to_groups(flat, padding_mask)
    num_groups, group_size, _ = ops.shape(flat)
    shape = (num_groups, group_size, num_experts, num_slots)
    over_tokens = ops.transpose(
        ops.where(padding_mask[..., None], flat, LOWEST), (0, 2, 1)
    )
    dispatch = ops.transpose(softmax(over_tokens), (0, 2, 1))
    combine = ops.reshape(softmax(flat), shape)
    scores = RouterScores(
        ops.logsumexp(ops.reshape(flat, shape), axis=-1),
        ops.sum(combine, axis=-1),
        padding_mask,
    )
    slots = ops.full((num_groups, num_experts), num_slots, dtype="int32")
    plan = SoftSlots(
        ops.reshape(dispatch, shape), combine, int32(slots), scores
    )
    return plan if all_real else plan.complete(padding_mask, num_experts)
