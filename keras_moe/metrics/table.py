"""The numbers that are watched while training: one row each."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from keras_moe.losses.load_balancing import load_balancing_loss
from keras_moe.losses.router_z import router_z_loss
from keras_moe.metrics.routing import dropped_fraction
from keras_moe.metrics.routing import max_violation
from keras_moe.metrics.routing import router_entropy
from keras_moe.metrics.routing import unrouted_fraction


class RoutingMetric(NamedTuple):
    """A number that says how well the experts are used.

    Attributes:
        description: str, what TensorBoard says about it.
        of_plan: function of a training step's plan that returns a float32
            scalar, averaged over the steps; or `None`.
        of_load: function of the expert load (E,) averaged over the steps,
            fractions as a NumPy array, that returns a float; or `None`.
        over_layers: function of a list of floats: the number of a model.
        needs_scores: bool, whether a router without scores has it.
    """

    description: str
    of_plan: Callable | None = None
    of_load: Callable | None = None
    over_layers: Callable = np.mean
    needs_scores: bool = False


ROUTING_METRICS = {
    "load_balancing_loss": RoutingMetric(
        "`E * sum(f * P) / K`, unweighted. 1 is balanced.",
        of_plan=load_balancing_loss,
        needs_scores=True,
    ),
    "router_z_loss": RoutingMetric(
        "Mean of `logsumexp(logits)^2` in nats squared, unweighted. It should "
        "not grow.",
        of_plan=router_z_loss,
        needs_scores=True,
    ),
    "max_violation": RoutingMetric(
        "Load of the busiest expert over the equal share, minus 1. 0 is "
        "balanced, E - 1 is one expert for all tokens.",
        of_load=max_violation,
        over_layers=np.max,
    ),
    "dropped_fraction": RoutingMetric(
        "Fraction of the (token, choice) pairs that found no slot. 0 without "
        "a capacity.",
        of_plan=dropped_fraction,
    ),
    "unrouted_fraction": RoutingMetric(
        "Fraction of the tokens that no expert sees: all choices dropped, or "
        "chosen by none.",
        of_plan=unrouted_fraction,
        needs_scores=True,
    ),
    "router_entropy": RoutingMetric(
        "Entropy of the router's distribution in nats. log E is undecided, 0 "
        "is certain.",
        of_plan=router_entropy,
        needs_scores=True,
    ),
}
"""What `RoutingStatistics` computes and `RoutingMonitor` shows, by name."""


def metrics_of_load(expert_load):
    """Compute the rows that follow from the average load.

    Args:
        expert_load: NumPy array of shape (E,), fractions.

    Returns:
        dict from a row's name to a float.

    Example:

    >>> metrics_of_load([0.5, 0.25, 0.25, 0.0])
    {'max_violation': 1.0}
    """
    return {
        name: metric.of_load(expert_load)
        for name, metric in ROUTING_METRICS.items()
        if metric.of_load is not None
    }
