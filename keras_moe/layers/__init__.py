"""The public bricks: routers, sparse layers and their dense counterpart."""

from keras_moe.layers.feed_forward import FeedForward
from keras_moe.layers.router import Router
from keras_moe.layers.routers import ROUTERS
from keras_moe.layers.routers import get_router
from keras_moe.layers.routing_statistics import RoutingStatistics
from keras_moe.layers.shared_expert_moe import SharedExpertMoE
from keras_moe.layers.sparse_moe import SparseMoE
from keras_moe.layers.top_k_router import TopKRouter

__all__ = [
    "ROUTERS",
    "FeedForward",
    "Router",
    "RoutingStatistics",
    "SharedExpertMoE",
    "SparseMoE",
    "TopKRouter",
    "get_router",
]
