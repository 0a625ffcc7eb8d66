"""The record that a router hands to everything downstream."""

from typing import Any
from typing import NamedTuple


class RoutingPlan(NamedTuple):
    """Says which experts each token goes to, and with what weight.

    The leading dimensions `...` are those of the router's inputs. As a
    `NamedTuple` the plan is a pytree on every backend, so it crosses
    `Layer.__call__`, `jit` and `keras.tree.map_structure`.

    Attributes:
        expert_indices: int32 tensor of shape (..., K). The chosen experts,
            best first; ties go to the lower index.
        combine_weights: float32 tensor of shape (..., K). Multiplies the
            experts' outputs; 0 for padding tokens.
        router_logits: float32 tensor of shape (..., E).
        router_probs: float32 tensor of shape (..., E). The logits after the
            score function.
        padding_mask: bool tensor of shape (...). True = real token.
    """

    expert_indices: Any
    combine_weights: Any
    router_logits: Any
    router_probs: Any
    padding_mask: Any
