"""Balance without a loss: selection biases that are quantiles of scores."""

from keras import ops

from keras_moe.losses.token_means import num_real_tokens
from keras_moe.ops.sorting import top_k as stable_top_k
from keras_moe.ops.widen import int32
from keras_moe.routing.plans import get_scores


def quantile_bias_update(plan, expert_bias):
    """Compute the step to biases with which the experts' loads are equal.

    One round of coordinate descent on the dual of the balanced assignment
    (Sun, 2025, https://arxiv.org/abs/2502.15451; quantile balancing in
    Megatron-LM). A token's price is its (K + 1)-th largest biased score: it
    chooses the experts whose biased score is larger. Expert e is chosen by
    the T * K / E tokens that gain most if its bias is minus the next largest
    of their `score_e - price`. No gradient flows.

    Args:
        plan: `TokenChoice` with scores.
        expert_bias: float32 tensor of shape (E,), with which it was chosen.

    Returns:
        float32 tensor of shape (E,), to be added to the bias; 0 if there is
        no real token, and if K = E, where nothing is to be chosen.

    Example:

    >>> import numpy as np
    >>> from keras_moe.routing import choose_top_k
    >>> probs = np.array([[0.75, 0.25], [0.625, 0.375]], "float32")
    >>> plan = choose_top_k(np.log(probs), top_k=1)
    >>> step = quantile_bias_update(plan, np.zeros(2, "float32"))
    >>> np.array(step).round(3).tolist()  # then token 1 is undecided
    [-0.25, 0.0]
    """
    scores, top_k = get_scores(plan), plan.expert_indices.shape[-1]
    num_experts = scores.probs.shape[-1]
    expert_bias = ops.convert_to_tensor(expert_bias, "float32")
    if top_k == num_experts:
        return ops.zeros_like(expert_bias)
    probs = ops.reshape(ops.stop_gradient(scores.probs), (-1, num_experts))
    biased = probs + expert_bias
    best = stable_top_k(biased, top_k + 1)
    price = ops.take_along_axis(biased, best[:, top_k:], axis=-1)  # (T, 1)
    real = ops.reshape(ops.cast(scores.padding_mask, "bool"), (-1, 1))
    gains = ops.where(real, probs - price, float("-inf"))
    num_tokens = int32(num_real_tokens(scores.padding_mask))
    # Largest last. The first without a place is that after T * K / E others.
    place = num_tokens * top_k // num_experts
    last = ops.shape(gains)[0] - 1
    next_gain = ops.take(ops.sort(gains, axis=0), last - place, axis=0)
    return ops.where(ops.any(real), -next_gain - expert_bias, 0.0)
