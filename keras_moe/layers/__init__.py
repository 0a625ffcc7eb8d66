"""The public bricks: routers, sparse layers and their dense counterpart."""

from keras_moe.layers.expert_mixture import ExpertMixture
from keras_moe.layers.feed_forward import FeedForward
from keras_moe.layers.record_choices import record_choices
from keras_moe.layers.router import Router
from keras_moe.layers.routers import ROUTERS
from keras_moe.layers.routers import get_router
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
from keras_moe.layers.routing_statistics import RoutingStatistics
from keras_moe.layers.shared_expert_moe import SharedExpertMoE
from keras_moe.layers.sparse_moe import SparseMoE
from keras_moe.layers.top_k_router import TopKRouter

__all__ = [
    "ROUTERS",
    "BalancedAssignmentRouter",
    "BalancedRouter",
    "CosineRouter",
    "ExpertChoiceRouter",
    "ExpertMixture",
    "FeedForward",
    "HashRouter",
    "HierarchicalRouter",
    "MixtureRouter",
    "NoisyTopKRouter",
    "RandomRouter",
    "Router",
    "RoutingStatistics",
    "SharedExpertMoE",
    "SinkhornRouter",
    "SoftRouter",
    "SparseMixerRouter",
    "SparseMoE",
    "TopKRouter",
    "TopPRouter",
    "ZeroComputationRouter",
    "get_router",
    "record_choices",
]
