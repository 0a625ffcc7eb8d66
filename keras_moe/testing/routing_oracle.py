"""The routing oracle: which experts a token gets, one token at a time."""

from typing import NamedTuple

import numpy as np


class Routing(NamedTuple):
    """The router's answer, in float64; `...` are the inputs' leading axes."""

    expert_indices: np.ndarray  # int64 (..., K), best expert first
    combine_weights: np.ndarray  # float64 (..., K), 0 for padding tokens
    logits: np.ndarray  # float64 (..., E)
    probs: np.ndarray  # float64 (..., E), after the score function


def route(
    inputs,
    kernel,
    *,
    top_k,
    score_function="softmax",
    normalize=None,
    route_scale=1.0,
    padding_mask=None,
):
    """Choose `top_k` experts for every token, token by token in float64.

    The reference that `keras_moe.layers.TopKRouter`, or a router of your own,
    can be compared with. Padding tokens are routed like any other, then get
    combine weights of 0; compare their `expert_indices` with nothing.

    Args:
        inputs: float array of shape (..., H), the tokens.
        kernel: float array of shape (H, E), the router's projection.
        top_k: int K, experts per token.
        score_function: `"softmax"` over the experts or `"sigmoid"` of each.
        normalize: bool, divide the K chosen scores by their sum. `None` means
            `top_k > 1`: at K = 1 the division would cut the router's gradient.
        route_scale: float, multiplies the combine weights.
        padding_mask: bool array of shape (...), `True` = real token. `None`
            means that every token is real.

    Returns:
        A `Routing` with `expert_indices` (..., K), `combine_weights` (..., K),
        `logits` (..., E) and `probs` (..., E).

    Raises:
        ValueError: for a `top_k` outside 1..E, an unknown `score_function`, or
            a `padding_mask` of another shape than the tokens.

    Example:

    >>> import numpy as np
    >>> tokens = np.array([[1.0, 0.0], [0.0, 1.0]])
    >>> kernel = np.array([[0.0, 2.0, 1.0], [3.0, 3.0, 0.0]])
    >>> routing = route(tokens, kernel, top_k=2)
    >>> routing.expert_indices  # the tie of the second token: lower index
    array([[1, 2],
           [0, 1]])
    >>> routing.combine_weights.round(3)
    array([[0.731, 0.269],
           [0.5  , 0.5  ]])

    References:
        Shazeer et al. 2017, https://arxiv.org/abs/1701.06538, equations 3 to 5
        without the noise; sigmoid scores normalized over the chosen experts
        as in DeepSeek-V3, https://arxiv.org/abs/2412.19437, equations 13 to 15.
    """
    inputs = np.asarray(inputs, dtype=np.float64)
    kernel = np.asarray(kernel, dtype=np.float64)
    leading = inputs.shape[:-1]
    num_experts = kernel.shape[1]
    real = real_tokens(padding_mask, leading).reshape(-1)
    if not 1 <= top_k <= num_experts:
        raise ValueError(
            "Expected `top_k` between 1 and the number of experts, "
            f"{num_experts}. Received: top_k={top_k}. "
            "Lower `top_k` or give the kernel more columns."
        )
    if normalize is None:
        normalize = top_k > 1

    tokens = inputs.reshape(-1, inputs.shape[-1])  # (..., H) -> (T, H)
    expert_indices = np.zeros((len(tokens), top_k), dtype=np.int64)
    combine_weights = np.zeros((len(tokens), top_k))
    logits = np.zeros((len(tokens), num_experts))
    probs = np.zeros((len(tokens), num_experts))
    for t, token in enumerate(tokens):
        logits[t] = token @ kernel
        probs[t] = scores(logits[t], score_function)
        # In the order of the scores, which may underflow or saturate.
        expert_indices[t] = best_experts(logits[t], top_k)
        if not real[t]:
            continue
        weights = probs[t, expert_indices[t]]
        if normalize:
            chosen = log_scores(logits[t, expert_indices[t]], score_function)
            weights = scores(chosen, "softmax")
        combine_weights[t] = route_scale * weights
    return Routing(
        expert_indices.reshape(*leading, top_k),
        combine_weights.reshape(*leading, top_k),
        logits.reshape(*leading, num_experts),
        probs.reshape(*leading, num_experts),
    )


def scores(logits, score_function):
    """Turn the logits (E,) of one token into its scores (E,)."""
    if score_function == "softmax":
        exponentials = np.exp(logits - max(logits))
        return exponentials / sum(exponentials)
    if score_function == "sigmoid":
        # exp(-|x|) cannot overflow, whichever sign x has.
        small = np.exp(-np.abs(logits))
        return np.where(logits >= 0, 1.0, small) / (1.0 + small)
    raise ValueError(
        'Expected `score_function` to be "softmax" or "sigmoid". '
        f"Received: score_function={score_function!r}. "
        "Choose one of the two."
    )


def log_scores(logits, score_function):
    """Turn logits into logarithms of scores, up to a common constant."""
    if score_function == "softmax":
        return logits
    # log(1 / (1 + exp(-x))), where exp may overflow and its logarithm not.
    return -np.logaddexp(0.0, -logits)


def best_experts(values, top_k):
    """List the `top_k` largest of `values` (E,), ties to the lower index."""
    chosen = []
    for _ in range(top_k):
        free = [e for e in range(len(values)) if e not in chosen]
        best = free[0]
        for e in free:
            # Strictly larger: on a tie the lower index stays.
            if values[e] > values[best]:
                best = e
        chosen.append(best)
    return chosen


def real_tokens(padding_mask, leading):
    """Give the mask of real tokens, all `True` when `padding_mask` is None."""
    if padding_mask is None:
        return np.ones(leading, dtype=bool)
    real = np.asarray(padding_mask, dtype=bool)
    if real.shape != tuple(leading):
        raise ValueError(
            f"Expected `padding_mask` of shape {tuple(leading)}, one value "
            f"per token. Received: padding_mask.shape={real.shape}. "
            "Give it the shape of the inputs without their last axis."
        )
    return real
