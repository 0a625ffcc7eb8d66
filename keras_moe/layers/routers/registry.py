"""The table of routers."""

from keras_moe.layers.routers.balanced_assignment_router import (
    BalancedAssignmentRouter,
)
from keras_moe.layers.routers.balanced_router import BalancedRouter
from keras_moe.layers.routers.cosine_router import CosineRouter
from keras_moe.layers.routers.expert_choice_router import ExpertChoiceRouter
from keras_moe.layers.routers.hash_router import HashRouter
from keras_moe.layers.routers.hierarchical_router import HierarchicalRouter
from keras_moe.layers.routers.mixture_router import MixtureRouter
from keras_moe.layers.routers.noisy_top_k_router import NoisyTopKRouter
from keras_moe.layers.routers.random_router import RandomRouter
from keras_moe.layers.routers.sinkhorn_router import SinkhornRouter
from keras_moe.layers.routers.soft_router import SoftRouter
from keras_moe.layers.routers.sparse_mixer_router import SparseMixerRouter
from keras_moe.layers.routers.top_p_router import TopPRouter
from keras_moe.layers.routers.zero_computation_router import (
    ZeroComputationRouter,
)
from keras_moe.layers.top_k_router import TopKRouter

ROUTERS = {
    "top_k": TopKRouter,
    "noisy_top_k": NoisyTopKRouter,
    "cosine": CosineRouter,
    "top_p": TopPRouter,
    "zero_computation": ZeroComputationRouter,
    "hash": HashRouter,
    "sparse_mixer": SparseMixerRouter,
    "hierarchical": HierarchicalRouter,
    "random": RandomRouter,
    "balanced": BalancedRouter,
    "expert_choice": ExpertChoiceRouter,
    "soft": SoftRouter,
    "mixture": MixtureRouter,
    "sinkhorn": SinkhornRouter,
    "balanced_assignment": BalancedAssignmentRouter,
}
"""Every router of this package by its name."""


def get_router(name):
    """Look up a router's class by its name.

    Args:
        name: str, a key of `ROUTERS`.

    Returns:
        Subclass of `keras_moe.layers.Router`. Its `source` says where the
        formula was published.

    Raises:
        ValueError: If the name is unknown.

    Example:

    >>> get_router("top_k").__name__
    'TopKRouter'
    """
    if name not in ROUTERS:
        raise ValueError(
            f"Expected a router's name, one of {list(ROUTERS)}. Received: "
            f"{name!r}. Give a router of your own as `router=` itself."
        )
    return ROUTERS[name]
