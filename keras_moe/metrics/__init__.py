"""Numbers that say how well the experts are used."""

from keras_moe.metrics.routing import dropped_fraction
from keras_moe.metrics.routing import max_violation
from keras_moe.metrics.routing import router_entropy
from keras_moe.metrics.routing import unrouted_fraction
from keras_moe.metrics.table import ROUTING_METRICS
from keras_moe.metrics.table import RoutingMetric

__all__ = [
    "ROUTING_METRICS",
    "RoutingMetric",
    "dropped_fraction",
    "max_violation",
    "router_entropy",
    "unrouted_fraction",
]
