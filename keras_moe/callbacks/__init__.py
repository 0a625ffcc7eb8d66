"""Keras callbacks that watch the experts while `fit()` runs."""

from keras_moe.callbacks.routing_monitor import RoutingMonitor

__all__ = ["RoutingMonitor"]
