"""The choices of a text as arrays, and the checks that all analyses share."""

import numpy as np


def real_choices(routed_experts, num_experts, mask=None):
    """Tell which (token, choice) pairs go to an expert.

    Args:
        routed_experts: int array of shape (B, L, layers, K).
        num_experts: int E; other numbers than 0 to E - 1 mean nowhere.
        mask: optional bool array of shape (B, L), True = real token.

    Returns:
        bool array of shape (B, L, layers, K).

    Raises:
        ValueError: If the shapes do not fit together.

    Example:

    >>> routed = np.array([0, 1, 2, -1]).reshape(1, 2, 1, 2)
    >>> real_choices(routed, num_experts=2).reshape(2, 2).tolist()
    [[True, True], [False, False]]
    """
    routed_experts = np.asarray(routed_experts)
    if routed_experts.ndim != 4:
        raise ValueError(
            "Expected `routed_experts` of shape (B, L, layers, K). Received: "
            f"shape {routed_experts.shape}. Record it with "
            "`keras_moe.models.RoutedExperts`."
        )
    real = (routed_experts >= 0) & (routed_experts < num_experts)
    if mask is None:
        return real
    mask = np.asarray(mask, "bool")
    check_tokens(mask, routed_experts, "mask")
    return real & mask[:, :, None, None]


def check_tokens(array, routed_experts, name):
    """Refuse an array that is not one number for each token.

    Args:
        array: array that should have the shape (B, L).
        routed_experts: array of shape (B, L, layers, K).
        name: str, the array's name in the error.

    Raises:
        ValueError: If it has another shape.

    Example:

    >>> check_tokens(np.zeros((2, 3)), np.zeros((2, 3, 1, 2)), "token_ids")
    """
    if np.shape(array) != np.shape(routed_experts)[:2]:
        raise ValueError(
            f"Expected `{name}` of shape {np.shape(routed_experts)[:2]}, one "
            f"number per routed token. Received: shape {np.shape(array)}. "
            "Give both of the same text."
        )
