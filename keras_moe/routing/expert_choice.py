"""Expert choice: every expert picks its best tokens."""

from typing import Any
from typing import NamedTuple

from keras import ops

from keras_moe.ops.sorting import count
from keras_moe.ops.sorting import top_k as stable_top_k
from keras_moe.ops.widen import int32
from keras_moe.routing.groups import to_groups
from keras_moe.routing.plans import RouterScores
from keras_moe.routing.plans import hide_in_scores
from keras_moe.routing.score_functions import softmax

# Below every logarithm of a probability.
LOWEST = -3e38


class ExpertChoice(NamedTuple):
    """Every expert names its tokens.

    G groups of S tokens, C of which each expert takes. Index S means nowhere:
    a place that no real token fills.

    Attributes:
        token_indices: int32 tensor of shape (G, E, C). The chosen tokens,
            best first; ties go to the earlier token.
        combine_weights: float32 tensor of shape (G, E, C). Multiplies the
            expert's outputs; 0 for nowhere.
        tokens_per_expert: int32 tensor of shape (G, E), the real tokens on
            each expert.
        scores: `RouterScores`; `None` for a router without scores.
    """

    token_indices: Any
    combine_weights: Any
    tokens_per_expert: Any
    scores: Any = None

    def complete(self, padding_mask, num_experts):
        """Send padding nowhere and count: what a `Router` does with a plan.

        Args:
            padding_mask: optional bool tensor of shape (...), True = real
                token.
            num_experts: int E.

        Returns:
            `ExpertChoice`.
        """
        if padding_mask is None:
            return self
        _, padding_mask = to_groups(padding_mask[..., None], padding_mask)
        num_groups, group_size = ops.shape(padding_mask)
        indices = int32(self.token_indices)
        flat = ops.reshape(indices, (num_groups, -1))
        flat = ops.minimum(flat, int32(group_size - 1))
        real = ops.take_along_axis(padding_mask, flat, axis=1)
        real = ops.reshape(real, ops.shape(indices))
        # Nowhere stays nowhere.
        real = ops.logical_and(real, indices < int32(group_size))
        nowhere = int32(group_size)
        return ExpertChoice(
            ops.where(real, indices, nowhere),
            ops.where(real, self.combine_weights, 0.0),
            int32(ops.sum(int32(real), axis=-1)),
            hide_in_scores(self.scores, padding_mask),
        )

    def reached(self):
        """Return which tokens some expert sees, bool (G, S)."""
        num_groups, group_size = ops.shape(self.scores.padding_mask)
        flat = ops.reshape(self.token_indices, (num_groups, -1))
        return count(flat, group_size) > 0


def choose_tokens(router_logits, capacity, padding_mask=None):
    """Let every expert choose the `capacity` best tokens of each group.

    A token's probabilities are the softmax over the experts. An expert takes
    the C tokens whose probability for it is highest, and that probability is
    the weight (Zhou et al., 2022, https://arxiv.org/abs/2202.09368, section
    3.2: S, I and G). Every expert is equally busy. A token may be chosen by
    several experts or by none, and depends on later tokens.

    Args:
        router_logits: float32 tensor of shape (..., E). A row of the batch is
            a group; rank 2 is a single group.
        capacity: int C, tokens per expert and group, or a scalar tensor where
            the length is unknown while tracing. No more than S are taken.
        padding_mask: optional bool tensor of shape (...), True = real token.
            Padding is chosen by nobody.

    Returns:
        `ExpertChoice`.

    Example:

    >>> import numpy as np
    >>> logits = np.log(np.array([[1, 3], [1, 1], [4, 1]], "float32"))
    >>> plan = choose_tokens(logits, capacity=2)
    >>> np.array(plan.token_indices)[0].tolist()
    [[2, 1], [0, 1]]
    >>> [round(float(w), 4) for w in plan.combine_weights[0, 0]]
    [0.8, 0.5]
    """
    all_real = padding_mask is None
    logits = ops.convert_to_tensor(router_logits, "float32")
    logits, padding_mask = to_groups(logits, padding_mask)
    num_groups, group_size, num_experts = ops.shape(logits)
    logits = ops.where(padding_mask[..., None], logits, 0.0)
    probs = softmax(logits)
    # Logarithms: probabilities that underflow would all be equal.
    ranking = logits - ops.logsumexp(logits, axis=-1, keepdims=True)
    ranking = ops.where(padding_mask[..., None], ranking, LOWEST)
    by_expert = ops.transpose(ranking, (0, 2, 1))  # (G, S, E) -> (G, E, S)
    capacity = _at_most(capacity, group_size)
    token_indices = int32(stable_top_k(by_expert, capacity))  # (G, E, C)
    weights = ops.take_along_axis(
        ops.transpose(probs, (0, 2, 1)), token_indices, axis=-1
    )
    everywhere = ops.zeros((num_groups, num_experts), "int32") + capacity
    plan = ExpertChoice(
        token_indices,
        weights,
        everywhere,
        RouterScores(logits, probs, padding_mask),
    )
    return plan if all_real else plan.complete(padding_mask, num_experts)


def _at_most(capacity, group_size):
    if ops.is_tensor(capacity) or ops.is_tensor(group_size):
        return ops.minimum(int32(capacity), int32(group_size))
    return min(int(capacity), group_size)
