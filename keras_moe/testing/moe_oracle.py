"""The mixture oracle: a whole sparse layer, token by token, in float64."""

from typing import Any
from typing import NamedTuple

import numpy as np

from keras_moe.testing import balance_oracle
from keras_moe.testing import capacity_oracle
from keras_moe.testing.expert_oracle import expert
from keras_moe.testing.routing_oracle import Routing
from keras_moe.testing.routing_oracle import route


class MoEResult(NamedTuple):
    """What a sparse layer computes for one batch, in float64."""

    outputs: np.ndarray  # float64 (G, S, H), 0 for padding tokens
    load_balancing_loss: float  # dimensionless, before its weight
    router_z_loss: float  # nats squared, before its weight
    kept: np.ndarray  # bool (G, S, K), False where dropped or padding
    routing: Routing  # leading axes (G, S)


def moe(
    inputs,
    router_kernel,
    gate_kernel,
    up_kernel,
    down_kernel,
    *,
    top_k,
    activation="silu",
    score_function="softmax",
    normalize=None,
    route_scale=1.0,
    capacity_factor=None,
    priority="position",
    padding_mask=None,
):
    """Compute a sparse mixture of experts, token by token in float64.

    The reference that `keras_moe.layers.SparseMoE`, or a layer of your own,
    can be compared with: `output = sum_k weight_k * expert_k(token)` over the
    chosen experts that have a slot left. A dropped pair contributes nothing
    and the other weights stay as they are.

    Args:
        inputs: float array of shape (G, S, H), tokens in groups. A group is
            what shares capacity: one batch row in `SparseMoE`.
        router_kernel: float array of shape (H, E).
        gate_kernel: float array of shape (E, H, I), or `None` for plain
            experts.
        up_kernel: float array of shape (E, H, I).
        down_kernel: float array of shape (E, I, H).
        top_k: int K, experts per token.
        activation: `"silu"`, `"gelu"` (exact), `"gelu_tanh"` or `"relu"`.
        score_function: `"softmax"` or `"sigmoid"`.
        normalize: bool, divide the K chosen scores by their sum; `None` means
            `top_k > 1`.
        route_scale: float, multiplies the combine weights.
        capacity_factor: float, or `None` for dropless.
        priority: `"position"` or `"score"`, who is dropped last.
        padding_mask: bool array of shape (G, S), `True` = real token.

    Returns:
        A `MoEResult`: `outputs` (G, S, H), the two losses, `kept` (G, S, K) and
        the `routing`.

    Raises:
        ValueError: for inputs of another rank than 3, and for what `route`,
            `drop` and `expert` refuse.

    Example:

    >>> import numpy as np
    >>> inputs = np.array([[[1.0, 0.0], [2.0, 0.0]]])
    >>> router_kernel = np.array([[3.0, 0.0], [0.0, 0.0]])
    >>> up_kernel = np.array([np.eye(2), np.eye(2)])
    >>> down_kernel = np.array([10 * np.eye(2), 100 * np.eye(2)])
    >>> result = moe(
    ...     inputs, router_kernel, None, up_kernel, down_kernel,
    ...     top_k=1, activation="relu", normalize=True, capacity_factor=1.0,
    ... )
    >>> result.kept[0, :, 0]  # one slot per expert: the second token is dropped
    array([ True, False])
    >>> result.outputs[0]
    array([[10.,  0.],
           [ 0.,  0.]])

    References:
        Shazeer et al. 2017, https://arxiv.org/abs/1701.06538, equation 1.
    """
    inputs = np.asarray(inputs, dtype=np.float64)
    if inputs.ndim != 3:
        raise ValueError(
            "Expected `inputs` of rank 3, (G, S, H). "
            f"Received: inputs.shape={inputs.shape}. "
            "Reshape them so that each group is one row of axis 0."
        )
    num_groups, group_size, _ = inputs.shape
    num_experts = np.shape(router_kernel)[1]
    routing = route(
        inputs,
        router_kernel,
        top_k=top_k,
        score_function=score_function,
        normalize=normalize,
        route_scale=route_scale,
        padding_mask=padding_mask,
    )
    slots = None
    if capacity_factor is not None:
        slots = capacity_oracle.capacity(
            capacity_factor, group_size, top_k, num_experts
        )
    kept = capacity_oracle.drop(
        routing.expert_indices, routing.probs, padding_mask, slots, priority
    )
    outputs = np.zeros(inputs.shape)
    for g in range(num_groups):
        for s in range(group_size):
            for k in range(top_k):
                if kept[g, s, k]:
                    kernels = kernels_of(
                        routing.expert_indices[g, s, k],
                        gate_kernel,
                        up_kernel,
                        down_kernel,
                    )
                    output = expert(inputs[g, s], *kernels, activation)
                    outputs[g, s] += routing.combine_weights[g, s, k] * output
    return MoEResult(
        outputs,
        balance_oracle.load_balancing_loss(
            routing.expert_indices, routing.probs, padding_mask
        ),
        balance_oracle.router_z_loss(routing.logits, padding_mask),
        kept,
        routing,
    )


def kernels_of(e, gate_kernel, up_kernel, down_kernel) -> tuple[Any, Any, Any]:
    """Pick the float64 kernels of expert `e`, the gate's `None` if plain."""
    gate = gate_kernel
    if gate_kernel is not None:
        gate = np.asarray(gate_kernel[e], dtype=np.float64)
    up = np.asarray(up_kernel[e], dtype=np.float64)
    down = np.asarray(down_kernel[e], dtype=np.float64)
    return gate, up, down
