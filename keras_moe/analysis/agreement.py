"""How far two checkpoints route a text alike."""

from typing import NamedTuple

import numpy as np

from keras_moe.analysis.choices import real_choices


class Agreement(NamedTuple):
    """How far two models choose the same experts, by layer.

    Attributes:
        first: float array (layers,), share of tokens with the same first
            choice.
        jaccard: float array (layers,), mean over tokens of the experts that
            both chose over those that either chose.
    """

    first: np.ndarray
    jaccard: np.ndarray


def routing_agreement(one, other, num_experts, mask=None):
    """Compare the choices of two checkpoints on the same text.

    High agreement from an early checkpoint on is OpenMoE's early routing:
    tokens keep the experts that they got first. The experts of separate runs
    have no common order, so compare checkpoints of one run.

    Args:
        one: int array of shape (B, L, layers, K), best first.
        other: int array of the same shape; K may differ.
        num_experts: int E; other numbers than 0 to E - 1 mean nowhere.
        mask: optional bool array of shape (B, L), True = real token.

    Returns:
        `Agreement`, over the tokens that both route.

    Raises:
        ValueError: If the shapes do not fit together.

    Example:

    >>> one = np.array([[0, 1], [2, 3]]).reshape(1, 2, 1, 2)
    >>> other = np.array([[0, 2], [3, 2]]).reshape(1, 2, 1, 2)
    >>> found = routing_agreement(one, other, num_experts=4)
    >>> found.first.tolist()  # The first token's.
    [0.5]
    >>> found.jaccard.round(4).tolist()  # (1 / 3 + 2 / 2) / 2
    [0.6667]

    References:
        Xue et al., 2024, https://arxiv.org/abs/2402.01739, section 4.
    """
    shapes = np.shape(one), np.shape(other)
    if shapes[0][:3] != shapes[1][:3]:
        raise ValueError(
            "Expected choices of the same tokens in as many sparse layers, "
            f"(B, L, layers, K). Received: shapes {shapes[0]} and {shapes[1]}."
            " Compare checkpoints of one run."
        )
    chosen = [_chosen(each, num_experts, mask) for each in (one, other)]
    both = np.all([each.any(-1) for each in chosen], axis=0)
    # (B, L, layers) -> (layers,)
    total = np.maximum(both.sum((0, 1)), 1)
    same = np.asarray(one)[..., 0] == np.asarray(other)[..., 0]
    shared = np.sum(chosen[0] & chosen[1], axis=-1)
    either = np.maximum(np.sum(chosen[0] | chosen[1], axis=-1), 1)
    return Agreement(
        np.sum(same & both, axis=(0, 1)) / total,
        np.sum(shared / either * both, axis=(0, 1)) / total,
    )


def _chosen(routed_experts, num_experts, mask):
    """Return which experts each token chose, bool (B, L, layers, E)."""
    real = real_choices(routed_experts, num_experts, mask)
    experts = np.where(real, routed_experts, num_experts)
    chosen = np.zeros((*experts.shape[:3], num_experts + 1), "bool")
    np.put_along_axis(chosen, experts, True, axis=-1)
    return chosen[..., :num_experts]
