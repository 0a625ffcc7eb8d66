"""Token choice: every token picks its best experts."""

from keras import ops

from keras_moe.ops.padding import clean_padding
from keras_moe.ops.plain_numbers import to_plain
from keras_moe.ops.sorting import top_k as stable_top_k
from keras_moe.routing.expert_groups import limit_to_groups
from keras_moe.routing.routing_plan import RoutingPlan
from keras_moe.routing.score_functions import get_log_score_function
from keras_moe.routing.score_functions import get_score_function
from keras_moe.routing.score_functions import normalize
from keras_moe.routing.score_functions import normalize_logs


def choose_top_k(
    router_logits,
    top_k,
    score_function="softmax",
    normalize_combine_weights=None,
    route_scale=1.0,
    padding_mask=None,
    *,
    combine_weights_power=1.0,
    expert_bias=None,
    num_expert_groups=None,
    num_limited_groups=None,
    group_score="max",
):
    """Choose the `top_k` best experts of each token.

    The score function turns logits into `router_probs`; the K largest are
    chosen and become combine weights, divided by their sum when
    `normalize_combine_weights` (Mixtral: softmax, then top-k, then
    normalize, which equals a softmax over the chosen logits,
    https://arxiv.org/abs/2401.04088, section 2.1). With K = 1 the default is
    the raw score (Switch, https://arxiv.org/abs/2101.03961, equation 2):
    a normalized one would be constant and cut the router's gradient.

    Args:
        router_logits: float32 tensor of shape (..., E).
        top_k: int K, experts per token.
        score_function: `"softmax"`, `"sigmoid"` or a function.
        normalize_combine_weights: bool; `None` means `top_k > 1`.
        route_scale: float, multiplies the combine weights.
        padding_mask: optional bool tensor of shape (...), True = real token.
        combine_weights_power: float p: weights are divided by the p-norm of
            a token's K weights (DBRX); 1 is their sum.
        expert_bias: optional float32 tensor of shape (E,), added to the
            scores for the choice alone, not to the weights (DeepSeek-V3,
            https://arxiv.org/abs/2412.19437, equation 16).
        num_expert_groups: optional int, see `limit_to_groups`.
        num_limited_groups: int, with groups.
        group_score: `"max"` or `"top2_sum"`, with groups.

    Returns:
        A `RoutingPlan`.

    Raises:
        ValueError: If the score function is unknown.

    Example:

    >>> import numpy as np
    >>> logits = np.array([[1.0, 3.0, 3.0], [9.0, 0.0, 0.0]], "float32")
    >>> plan = choose_top_k(logits, top_k=2)
    >>> np.array(plan.expert_indices).tolist()  # ties: lower index first
    [[1, 2], [0, 1]]
    """
    top_k, route_scale = to_plain(top_k), to_plain(route_scale)
    combine_weights_power = to_plain(combine_weights_power)
    if normalize_combine_weights is None:
        normalize_combine_weights = top_k > 1
    router_logits = ops.convert_to_tensor(router_logits, "float32")
    router_logits = clean_padding(router_logits, padding_mask)
    score_function = get_score_function(score_function)
    router_probs = score_function(router_logits)
    # Softmax and sigmoid keep the order, but a vectorized exponential may part
    # equal logits in the last bit, and far ones may underflow to one score.
    log_scores = get_log_score_function(score_function)
    ranking = router_probs if log_scores is None else router_logits
    if expert_bias is not None:
        bias = ops.convert_to_tensor(expert_bias, "float32")
        ranking = router_probs + bias
    if num_expert_groups is not None:
        unbiased = expert_bias is None and log_scores is not None
        ranking = limit_to_groups(
            ranking,
            num_expert_groups,
            num_limited_groups,
            group_score,
            log_scores(router_logits) if unbiased else None,
        )
    expert_indices = stable_top_k(ranking, top_k)  # (..., K)
    combine_weights = ops.take_along_axis(router_probs, expert_indices, axis=-1)
    if normalize_combine_weights:
        chosen = ops.take_along_axis(router_logits, expert_indices, axis=-1)
        if log_scores is None:
            combine_weights = normalize(
                combine_weights, chosen, combine_weights_power
            )
        else:
            combine_weights = normalize_logs(
                log_scores(chosen), combine_weights_power
            )
    if route_scale != 1.0:
        combine_weights = combine_weights * route_scale
    if padding_mask is None:
        padding_mask = ops.ones(ops.shape(router_logits)[:-1], dtype="bool")
    else:
        padding_mask = ops.cast(padding_mask, "bool")
        combine_weights = ops.where(
            padding_mask[..., None], combine_weights, 0.0
        )
    return RoutingPlan(
        expert_indices=expert_indices,
        combine_weights=combine_weights,
        router_logits=router_logits,
        router_probs=router_probs,
        padding_mask=padding_mask,
    )
