"""The kinds of router, one a file."""

from keras_moe.layers.routers.registry import ROUTERS
from keras_moe.layers.routers.registry import get_router

__all__ = ["ROUTERS", "get_router"]
