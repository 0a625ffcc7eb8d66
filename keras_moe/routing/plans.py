"""What a router decides: plans, as values."""

from typing import Any
from typing import NamedTuple

from keras import ops

from keras_moe.ops.sorting import count
from keras_moe.ops.widen import int32
from keras_moe.routing.padding import join_masks


class RouterScores(NamedTuple):
    """How the experts scored: what losses look at.

    Attributes:
        logits: float32 tensor of shape (..., E).
        probs: float32 tensor of shape (..., E). The logits after the score
            function.
        padding_mask: bool tensor of shape (...). True = real token.
        noisy_logits: float32 tensor of shape (..., E). With normal noise,
            what the experts were chosen by and weighted with; `logits` and
            `probs` are without noise.
        noise_stddev: float32 tensor, a scalar or of shape (..., E): the
            standard deviation of that noise.
    """

    logits: Any
    probs: Any
    padding_mask: Any
    noisy_logits: Any = None
    noise_stddev: Any = None


class TokenChoice(NamedTuple):
    """Every token names its experts.

    The leading dimensions `...` are those of the router's inputs: (G, S) in a
    sparse layer, G groups of S tokens. A `NamedTuple` is a pytree on every
    backend, so a plan crosses `Layer.__call__`, `jit` and
    `keras.tree.map_structure`. A part that does not apply is `None`.

    Attributes:
        expert_indices: int32 tensor of shape (..., K). The chosen experts,
            best first; ties go to the lower index. E means nowhere: padding,
            a pair without a slot, or a choice that the token does not need.
        combine_weights: float32 tensor of shape (..., K). Multiplies the
            experts' outputs; 0 for nowhere.
        tokens_per_expert: int32 tensor of shape (G, E), or (E,) for inputs of
            rank 2: the (token, choice) pairs on each expert, before any is
            dropped.
        scores: `RouterScores`; `None` for a router without scores.
        slots: int32 tensor of shape (..., K), the 0-based position in the
            expert's buffer, where there is a capacity.
        capacity: C, slots per expert and group, int or scalar tensor.
        input_weights: float32 tensor of shape (..., K). Multiplies what the
            experts see (Llama 4).
        free_outputs: float32 tensor of shape (..., H). What experts that
            compute nothing return, weighted.
    """

    expert_indices: Any
    combine_weights: Any
    tokens_per_expert: Any = None
    scores: Any = None
    slots: Any = None
    capacity: Any = None
    input_weights: Any = None
    free_outputs: Any = None

    def complete(self, padding_mask, num_experts):
        """Send padding nowhere and count: what a `Router` does with a plan.

        Args:
            padding_mask: optional bool tensor of shape (...), True = real
                token.
            num_experts: int E.

        Returns:
            `TokenChoice`.
        """
        plan = hide_padding(self, padding_mask, num_experts)
        return count_tokens(plan, num_experts)

    def reached(self):
        """Return which tokens some expert sees, bool (...)."""
        num_experts = get_scores(self).probs.shape[-1]
        return ops.any(int32(self.expert_indices) < num_experts, axis=-1)


def get_scores(plan):
    """Return a plan's scores, which not every router has.

    Args:
        plan: `TokenChoice`, or another plan.

    Returns:
        `RouterScores`.

    Raises:
        ValueError: If there are none.

    Example:

    >>> import numpy as np
    >>> from keras_moe.routing import choose_top_k
    >>> plan = choose_top_k(np.zeros((3, 4), "float32"), top_k=2)
    >>> get_scores(plan).logits.shape[-1]
    4
    """
    if plan.scores is None:
        raise ValueError(
            "Expected the plan of a router with scores. Received: a "
            f"{type(plan).__name__} with scores=None. Give the router "
            "`balancing=None`, or rules that need no scores."
        )
    return plan.scores


def hide_padding(plan, padding_mask, num_experts):
    """Send padding nowhere.

    Args:
        plan: `TokenChoice`.
        padding_mask: optional bool tensor of shape (...), True = real token.
        num_experts: int E.

    Returns:
        `TokenChoice` with index E and weight 0 for padding.

    Example:

    >>> import numpy as np
    >>> plan = TokenChoice(np.array([[0], [1]]), np.ones((2, 1), "float32"))
    >>> plan = hide_padding(plan, np.array([True, False]), num_experts=2)
    >>> np.array(plan.expert_indices).tolist()
    [[0], [2]]
    """
    if padding_mask is None:
        return plan
    padding_mask = ops.cast(padding_mask, "bool")
    scores = hide_in_scores(plan.scores, padding_mask)
    if scores is not None:
        padding_mask = scores.padding_mask
    plan = plan._replace(scores=scores)
    # Not `padding_mask[..., None]`, which LiteRT lacks for open sizes.
    real = ops.expand_dims(padding_mask, -1)
    if plan.free_outputs is not None:
        free_outputs = ops.where(real, plan.free_outputs, 0.0)
        plan = plan._replace(free_outputs=free_outputs)
    return keep_pairs(plan, real, num_experts)


def hide_in_scores(scores, padding_mask):
    """Note in a plan's scores which tokens are padding, besides what is noted.

    Args:
        scores: `RouterScores`, or `None`.
        padding_mask: bool tensor of shape (...), True = real token.

    Returns:
        `RouterScores`, or `None`.

    Example:

    >>> hide_in_scores(None, padding_mask=None)
    """
    if scores is None:
        return None
    padding_mask = join_masks(scores.padding_mask, padding_mask)
    return scores._replace(padding_mask=padding_mask)


def keep_pairs(plan, kept, num_experts):
    """Send all (token, choice) pairs nowhere but those that are kept.

    Pairs of a plan with slots count in `tokens_per_expert` as before: they
    were routed and dropped. In any other plan they were never routed, so
    counts are forgotten and have to be taken again.

    Args:
        plan: `TokenChoice`.
        kept: bool tensor of shape (..., K), or (..., 1).
        num_experts: int E.

    Returns:
        `TokenChoice`.

    Example:

    >>> import numpy as np
    >>> plan = TokenChoice(np.array([[0, 1]]), np.ones((1, 2), "float32"))
    >>> plan = keep_pairs(plan, np.array([[True, False]]), num_experts=2)
    >>> np.array(plan.combine_weights).tolist()
    [[1.0, 0.0]]
    """
    indices = int32(plan.expert_indices)
    was_routed = plan.slots is not None
    return plan._replace(
        expert_indices=ops.where(kept, indices, int32(num_experts)),
        combine_weights=ops.where(kept, plan.combine_weights, 0.0),
        tokens_per_expert=plan.tokens_per_expert if was_routed else None,
    )


def count_tokens(plan, num_experts):
    """Fill in how many pairs go to each expert.

    Args:
        plan: `TokenChoice`, before any pair is dropped.
        num_experts: int E.

    Returns:
        `TokenChoice` with `tokens_per_expert`.

    Example:

    >>> import numpy as np
    >>> plan = TokenChoice(np.array([[1], [1]]), np.ones((2, 1), "float32"))
    >>> np.array(count_tokens(plan, 3).tokens_per_expert).tolist()
    [0, 2, 0]
    """
    indices = plan.expert_indices
    *groups, _, _ = ops.shape(indices)
    flat = ops.reshape(indices, (-1,) if not groups else (*groups[:1], -1))
    return plan._replace(tokens_per_expert=count(flat, num_experts))
