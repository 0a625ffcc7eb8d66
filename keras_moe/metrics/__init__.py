"""Numbers that say how well the experts are used."""

from keras_moe.metrics.routing import dropped_fraction
from keras_moe.metrics.routing import max_violation
from keras_moe.metrics.routing import router_entropy

__all__ = ["dropped_fraction", "max_violation", "router_entropy"]
