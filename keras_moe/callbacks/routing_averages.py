"""Arithmetic on what `RoutingStatistics.result()` returns."""

import numpy as np

from keras_moe.metrics.table import ROUTING_METRICS
from keras_moe.metrics.table import metrics_of_load

_MEANS = (
    "expert_load",
    *(name for name, each in ROUTING_METRICS.items() if each.of_plan),
)


def averages_between(earlier, later):
    """Compute the averages over the steps between two results of one layer.

    Args:
        earlier: result of the same layer, or `None` for its last reset.
        later: dict from `RoutingStatistics.result()`.

    Returns:
        dict with the keys of `later`, except `tokens_per_expert`; `None` if
        there was no step in between.

    Example:

    >>> import numpy as np
    >>> def result(steps, load):
    ...     numbers = dict.fromkeys(_MEANS, 0.0)
    ...     return {**numbers, "steps": steps, "expert_load": np.array(load)}
    >>> between = averages_between(
    ...     result(1, [1.0, 0.0]), result(2, [0.75, 0.25])
    ... )
    >>> between["steps"], between["expert_load"].tolist()
    (1, [0.5, 0.5])
    """
    steps = later["steps"] - (earlier["steps"] if earlier else 0)
    if not steps:
        return None
    means = {}
    for name in _MEANS:
        total = np.float64(1) * later[name] * later["steps"]
        if earlier:
            total = total - np.float64(1) * earlier[name] * earlier["steps"]
        # A difference of two sums of numbers >= 0, but rounded.
        means[name] = np.maximum(total, 0.0) / steps
    return {"steps": steps, **metrics_of_load(means["expert_load"]), **means}


def averages_over_layers(results):
    """Compute the numbers of a whole model from those of its layers.

    Args:
        results: non-empty list of dicts, one for each layer.

    Returns:
        dict of floats, one for each row of `ROUTING_METRICS`.
    """
    return {
        name: float(metric.over_layers([result[name] for result in results]))
        for name, metric in ROUTING_METRICS.items()
    }
