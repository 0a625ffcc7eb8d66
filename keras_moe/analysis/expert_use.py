"""How the choices are spread over experts and positions."""

import numpy as np

from keras_moe.analysis.choices import real_choices
from keras_moe.analysis.token_information import entropy


def expert_load(routed_experts, num_experts, mask=None):
    """Compute each expert's share of the choices, by layer.

    Args:
        routed_experts: int array of shape (B, L, layers, K).
        num_experts: int E.
        mask: optional bool array of shape (B, L), True = real token.

    Returns:
        float64 array of shape (layers, E), each layer's sum 1, or 0 if no
        token is routed there.

    Raises:
        ValueError: If the shapes do not fit together.

    Example:

    >>> routed = np.array([0, 1, 1, 1]).reshape(1, 2, 1, 2)
    >>> expert_load(routed, num_experts=3).tolist()
    [[0.25, 0.75, 0.0]]
    """
    real = real_choices(routed_experts, num_experts, mask)
    counts = np.stack(
        [
            np.bincount(
                np.asarray(routed_experts)[:, :, layer][real[:, :, layer]],
                minlength=num_experts,
            )
            for layer in range(real.shape[2])
        ]
    )
    return counts / np.maximum(counts.sum(-1, keepdims=True), 1)


def effective_experts(load):
    """Compute the effective number of experts, `exp(entropy)`.

    Args:
        load: float array of shape (..., E), shares.

    Returns:
        float64 array of shape (...): E if all are equally busy, 1 if one does
        everything.

    Example:

    >>> effective_experts(np.array([0.5, 0.5, 0.0])).round(6).tolist()
    2.0
    """
    return np.exp(entropy(load))


def dead_experts(load):
    """List the experts that no token goes to.

    Args:
        load: float array of shape (layers, E), shares.

    Returns:
        list of int for each layer.

    Example:

    >>> dead_experts(np.array([[0.5, 0.5, 0.0], [0.2, 0.2, 0.6]]))
    [[2], []]
    """
    return [np.flatnonzero(each == 0).tolist() for each in np.asarray(load)]


def dropped_by_position(routed_experts, kept_experts, num_experts, mask=None):
    """Compute which share of the choices a capacity drops, by position.

    Where earlier tokens take the slots, later ones are dropped: OpenMoE's
    drop towards the end.

    Args:
        routed_experts: int array of shape (B, L, layers, K), before the
            capacity.
        kept_experts: int array of the same shape, after it.
        num_experts: int E; in both, other numbers than 0 to E - 1 mean
            nowhere.
        mask: optional bool array of shape (B, L), True = real token.

    Returns:
        float64 array of shape (layers, L); 0 at positions that no token has.

    Raises:
        ValueError: If the shapes do not fit together.

    Example:

    >>> chosen = np.zeros((1, 4, 1, 1), int)  # All want expert 0,
    >>> kept = np.array([0, 0, 2, 2]).reshape(1, 4, 1, 1)  # two get it.
    >>> dropped_by_position(chosen, kept, num_experts=2).tolist()
    [[0.0, 0.0, 1.0, 1.0]]

    References:
        Xue et al., 2024, https://arxiv.org/abs/2402.01739, section 4.
    """
    real = real_choices(routed_experts, num_experts, mask)
    kept = real_choices(kept_experts, num_experts, mask)
    if real.shape != kept.shape:
        raise ValueError(
            f"Expected `kept_experts` of shape {real.shape}, as "
            f"`routed_experts` has. Received: shape {kept.shape}. Record both "
            "in one run."
        )
    # (B, L, layers, K) -> (layers, L)
    dropped = np.sum(real & ~kept, axis=(0, 3)).T
    return dropped / np.maximum(np.sum(real, axis=(0, 3)).T, 1)
