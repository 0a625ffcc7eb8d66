"""The gradient oracle: the backward pass of a sparse layer, by hand."""

from typing import Any
from typing import NamedTuple

import numpy as np

from keras_moe.testing.balance_oracle import logsumexp
from keras_moe.testing.balance_oracle import tokens_per_expert
from keras_moe.testing.expert_oracle import expert
from keras_moe.testing.expert_oracle import expert_gradients
from keras_moe.testing.moe_oracle import kernels_of
from keras_moe.testing.moe_oracle import moe
from keras_moe.testing.routing_oracle import log_scores
from keras_moe.testing.routing_oracle import real_tokens
from keras_moe.testing.routing_oracle import scores


class MoEGradients(NamedTuple):
    """The gradient for each argument, float64 and of that argument's shape."""

    inputs: np.ndarray  # (G, S, H)
    router_kernel: np.ndarray  # (H, E)
    gate_kernel: np.ndarray | None  # (E, H, I), None for plain experts
    up_kernel: np.ndarray  # (E, H, I)
    down_kernel: np.ndarray  # (E, I, H)


def moe_gradients(
    inputs,
    router_kernel,
    gate_kernel,
    up_kernel,
    down_kernel,
    cotangent,
    *,
    top_k,
    load_balancing_loss_weight=0.0,
    router_z_loss_weight=0.0,
    activation="silu",
    score_function="softmax",
    normalize=None,
    route_scale=1.0,
    capacity_factor=None,
    priority="position",
    padding_mask=None,
):
    """Derive a sparse mixture of experts by hand, token by token.

    The gradient of `sum(outputs * cotangent) + load_balancing_loss_weight *
    load_balancing_loss + router_z_loss_weight * router_z_loss`. Which experts
    are chosen, who is dropped and the pair counts `f` of the balance loss are
    constants; the router learns through the combine weights, the mean shares
    `P` of the balance loss and the z-loss.

    Args:
        inputs: float array of shape (G, S, H).
        router_kernel: float array of shape (H, E).
        gate_kernel: float array of shape (E, H, I), or `None` for plain
            experts.
        up_kernel: float array of shape (E, H, I).
        down_kernel: float array of shape (E, I, H).
        cotangent: float array of shape (G, S, H), the gradient of the outputs.
        top_k: int K, experts per token.
        load_balancing_loss_weight: float, coefficient of that loss.
        router_z_loss_weight: float, coefficient of that loss.
        activation: as in `moe`.
        score_function: as in `moe`.
        normalize: as in `moe`.
        route_scale: as in `moe`.
        capacity_factor: as in `moe`.
        priority: as in `moe`.
        padding_mask: as in `moe`.

    Returns:
        A `MoEGradients`, one gradient for each of the first five arguments;
        `gate_kernel` is `None` for plain experts.

    Raises:
        ValueError: for what `moe` refuses.

    Example:

    >>> import numpy as np
    >>> inputs = np.array([[[1.0, 0.0], [2.0, 0.0]]])
    >>> router_kernel = np.array([[3.0, 0.0], [0.0, 0.0]])
    >>> up_kernel = np.array([np.eye(2), np.eye(2)])
    >>> down_kernel = np.array([10 * np.eye(2), 100 * np.eye(2)])
    >>> gradients = moe_gradients(
    ...     inputs, router_kernel, None, up_kernel, down_kernel,
    ...     np.ones((1, 2, 2)), top_k=1, activation="relu", normalize=True,
    ... )
    >>> gradients.down_kernel[0]  # both tokens went to expert 0
    array([[3., 3.],
           [0., 0.]])
    >>> gradients.inputs[0]
    array([[10.,  0.],
           [10.,  0.]])

    References:
        The balance loss of Switch Transformers,
        https://arxiv.org/abs/2101.03961, equation 4: its `f` is a count, so
        only `P` is differentiable.
    """
    inputs = np.asarray(inputs, dtype=np.float64)
    router_kernel = np.asarray(router_kernel, dtype=np.float64)
    cotangent = np.asarray(cotangent, dtype=np.float64)
    if normalize is None:
        normalize = top_k > 1
    result = moe(
        inputs,
        router_kernel,
        gate_kernel,
        up_kernel,
        down_kernel,
        top_k=top_k,
        activation=activation,
        score_function=score_function,
        normalize=normalize,
        route_scale=route_scale,
        capacity_factor=capacity_factor,
        priority=priority,
        padding_mask=padding_mask,
    )
    routing = result.routing
    num_groups, group_size, _ = inputs.shape
    num_experts = router_kernel.shape[1]
    real = real_tokens(padding_mask, (num_groups, group_size))
    num_real = real.sum()
    counts = tokens_per_expert(routing.expert_indices, num_experts, real)

    d_inputs = np.zeros(inputs.shape)
    d_router_kernel = np.zeros(router_kernel.shape)
    d_gate_kernel: Any = None
    if gate_kernel is not None:
        d_gate_kernel = np.zeros(np.shape(gate_kernel))
    d_up_kernel = np.zeros(np.shape(up_kernel))
    d_down_kernel = np.zeros(np.shape(down_kernel))

    for g in range(num_groups):
        for s in range(group_size):
            if not real[g, s]:
                continue
            token = inputs[g, s]
            chosen = routing.expert_indices[g, s]

            # outputs = sum_k weight_k * expert_k(token), over the kept k
            d_weights = np.zeros(top_k)
            for k in range(top_k):
                if not result.kept[g, s, k]:
                    continue
                e = chosen[k]
                weight = routing.combine_weights[g, s, k]
                kernels = kernels_of(e, gate_kernel, up_kernel, down_kernel)
                output = expert(token, *kernels, activation)
                d_weights[k] = output @ cotangent[g, s]
                d_token, d_gate, d_up, d_down = expert_gradients(
                    token, *kernels, activation, weight * cotangent[g, s]
                )
                d_inputs[g, s] += d_token
                if gate_kernel is not None:
                    d_gate_kernel[e] += d_gate
                d_up_kernel[e] += d_up
                d_down_kernel[e] += d_down

            # weights = route_scale * probs[chosen], divided by their sum or not
            logits = routing.logits[g, s]
            d_logits = np.zeros(num_experts)
            if normalize:
                d_logits[chosen] = share_gradient(
                    logits[chosen], route_scale * d_weights, score_function
                )
            else:
                d_probs = np.zeros(num_experts)
                d_probs[chosen] = route_scale * d_weights
                d_logits += score_gradient(
                    routing.probs[g, s], d_probs, score_function
                )

            # balance loss = E / K * sum_e f_e * mean over tokens of share_e
            pairs_per_token = counts / num_real
            d_share = load_balancing_loss_weight * (
                num_experts / top_k * pairs_per_token / num_real
            )
            d_logits += share_gradient(logits, d_share, score_function)

            # z-loss = mean over tokens of logsumexp(logits) ** 2
            log_total = logsumexp(logits)
            d_logits += router_z_loss_weight * (
                2.0 * log_total * np.exp(logits - log_total) / num_real
            )

            # logits = token @ router_kernel
            d_router_kernel += np.outer(token, d_logits)
            d_inputs[g, s] += router_kernel @ d_logits
    return MoEGradients(
        d_inputs, d_router_kernel, d_gate_kernel, d_up_kernel, d_down_kernel
    )


def share_gradient(logits, d_share, score_function):
    """Pull the gradient of scores over their sum back to their logits.

    A share is the softmax of log(score), which does not underflow:
    d share_i / d log_j = share_i * ((1 if i == j else 0) - share_j).
    """
    share = scores(log_scores(logits, score_function), "softmax")
    d_log_scores = share * (d_share - sum(share * d_share))
    if score_function == "softmax":
        return d_log_scores
    # d log(sigmoid(l)) / d l = 1 - sigmoid(l) = sigmoid(-l)
    return d_log_scores * scores(-logits, "sigmoid")


def score_gradient(probs, d_probs, score_function):
    """Pull the gradient (E,) of the scores back to the logits (E,)."""
    if score_function == "softmax":
        # d p_i / d l_j = p_i * ((1 if i == j else 0) - p_j)
        return probs * (d_probs - sum(probs * d_probs))
    # sigmoid: d p / d l = p * (1 - p)
    return probs * (1.0 - probs) * d_probs
