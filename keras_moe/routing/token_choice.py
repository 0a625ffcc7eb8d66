"""Token choice: every token picks its best experts."""

from keras import ops

from keras_moe.ops.padding import clean_padding
from keras_moe.ops.plain_numbers import to_plain
from keras_moe.ops.sorting import top_k as stable_top_k
from keras_moe.ops.widen import int32
from keras_moe.routing.combine_weights import CombineWeights
from keras_moe.routing.expert_groups import limit_to_groups
from keras_moe.routing.plans import RouterScores
from keras_moe.routing.plans import TokenChoice
from keras_moe.routing.plans import hide_padding
from keras_moe.routing.replay import as_choices
from keras_moe.routing.replay import finish_replay
from keras_moe.routing.replay import replayed
from keras_moe.routing.replay import with_nowhere
from keras_moe.routing.score_functions import get_log_score_function
from keras_moe.routing.score_functions import get_score_function


def choose_top_k(
    router_logits,
    top_k,
    score_function="softmax",
    combine_weights=None,
    padding_mask=None,
    *,
    expert_bias=None,
    expert_groups=None,
    selection_logits=None,
    expert_indices=None,
):
    """Choose the `top_k` best experts of each token.

    The score function turns logits into probabilities; the K largest are
    chosen and become combine weights as `CombineWeights` says (Shazeer et
    al., 2017, https://arxiv.org/abs/1701.06538, section 2; the default is
    Mixtral's: softmax, then top-k, then normalize, which equals a softmax
    over the chosen logits, https://arxiv.org/abs/2401.04088, section 2.1).

    Args:
        router_logits: float32 tensor of shape (..., E).
        top_k: int K, experts per token.
        score_function: `"softmax"`, `"sigmoid"`, `"sqrt_softplus"` or a
            function.
        combine_weights: optional `CombineWeights`.
        padding_mask: optional bool tensor of shape (...), True = real token.
        expert_bias: optional float32 tensor of shape (E,), added to the
            scores for the choice alone, not to the weights (DeepSeek-V3,
            https://arxiv.org/abs/2412.19437, equation 16).
        expert_groups: optional `ExpertGroups`.
        selection_logits: optional float32 tensor of shape (..., E), which the
            experts are chosen by in place of `router_logits`; the weights
            are those of `router_logits`.
        expert_indices: optional int32 tensor of shape (..., K), choices that
            were made before, taken again with the weights of these logits:
            experts, E for nowhere, or -1 for a token that chooses freely.

    Returns:
        `TokenChoice` without counts: a `Router` adds them.

    Raises:
        ValueError: If the score function is unknown, or `expert_indices` do
            not fit or are out of range; compiled, their weights are NaN.

    Example:

    >>> import numpy as np
    >>> logits = np.array([[1.0, 3.0, 3.0], [9.0, 0.0, 0.0]], "float32")
    >>> plan = choose_top_k(logits, top_k=2)
    >>> np.array(plan.expert_indices).tolist()  # ties: lower index first
    [[1, 2], [0, 1]]
    """
    top_k = to_plain(top_k)
    combine_weights = combine_weights or CombineWeights()
    logits = ops.convert_to_tensor(router_logits, "float32")
    logits = clean_padding(logits, padding_mask)
    score_function = get_score_function(score_function)
    probs = score_function(logits)
    if selection_logits is None:
        by, by_probs = logits, probs
    else:
        by, by_probs = selection_logits, score_function(selection_logits)
    ranking = _rank(by, by_probs, score_function, expert_bias, expert_groups)
    num_experts = logits.shape[-1]
    chosen, scored = stable_top_k(ranking, top_k), (logits, probs)  # (..., K)
    if expert_indices is not None:
        expert_indices = as_choices(expert_indices, logits, top_k)
        chosen = replayed(expert_indices, chosen, num_experts)
        scored = with_nowhere(logits, probs)
    weights = combine_weights.of(*scored, chosen, score_function)
    plan = TokenChoice(int32(chosen), weights)
    if combine_weights.apply_to == "inputs":
        plan = plan._replace(
            combine_weights=ops.ones_like(weights), input_weights=weights
        )
    if expert_indices is not None:
        plan = finish_replay(plan, expert_indices, num_experts)
    if padding_mask is not None:
        plan = hide_padding(plan, padding_mask, num_experts)
        padding_mask = ops.cast(padding_mask, "bool")
    else:
        padding_mask = ops.ones(ops.shape(logits)[:-1], dtype="bool")
    return plan._replace(scores=RouterScores(logits, probs, padding_mask))


def _rank(logits, probs, score_function, expert_bias, expert_groups):
    """Return numbers (..., E) whose order is that of the experts."""
    # Softmax and sigmoid keep the order, but a vectorized exponential may part
    # equal logits in the last bit, and far ones may underflow to one score.
    log_scores = get_log_score_function(score_function)
    ranking = probs if log_scores is None else logits
    if expert_bias is not None:
        ranking = probs + ops.convert_to_tensor(expert_bias, "float32")
    if expert_groups is None:
        return ranking
    unbiased = expert_bias is None and log_scores is not None
    return limit_to_groups(
        ranking,
        expert_groups.num_groups,
        expert_groups.num_limited,
        expert_groups.score,
        log_scores(logits) if unbiased else None,
    )
