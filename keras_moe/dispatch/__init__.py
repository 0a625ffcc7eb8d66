"""Carrying tokens to their experts and back: no weights, no arithmetic."""

from keras_moe.dispatch.capacity_dispatcher import CapacityDispatcher
from keras_moe.dispatch.choose_dispatcher import check_dispatcher
from keras_moe.dispatch.choose_dispatcher import choose_dispatcher
from keras_moe.dispatch.dense_dispatcher import DenseDispatcher
from keras_moe.dispatch.dispatcher import Dispatcher
from keras_moe.dispatch.sorted_dispatcher import SortedDispatcher

__all__ = [
    "CapacityDispatcher",
    "DenseDispatcher",
    "Dispatcher",
    "SortedDispatcher",
    "check_dispatcher",
    "choose_dispatcher",
]
