"""Keras callbacks for `fit()`: watch the experts, save the run."""

from keras_moe.callbacks.routing_monitor import RoutingMonitor
from keras_moe.callbacks.training_checkpoint import TrainingCheckpoint

__all__ = ["RoutingMonitor", "TrainingCheckpoint"]
