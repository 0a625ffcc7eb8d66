"""The numbers that are watched while training: one row each."""

import numpy as np
import pytest

from keras_moe.losses import load_balancing_loss
from keras_moe.losses import router_z_loss
from keras_moe.metrics import ROUTING_METRICS
from keras_moe.metrics import dropped_fraction
from keras_moe.metrics import max_violation
from keras_moe.metrics import router_entropy
from keras_moe.metrics import unrouted_fraction
from keras_moe.routing import assign_slots
from keras_moe.routing import choose_top_k


def test_every_row_says_what_it_is_and_is_computed_in_one_way():
    assert list(ROUTING_METRICS) == [
        "load_balancing_loss",
        "router_z_loss",
        "max_violation",
        "dropped_fraction",
        "unrouted_fraction",
        "router_entropy",
    ]
    for metric in ROUTING_METRICS.values():
        assert metric.description.endswith(".")
        assert (metric.of_plan is None) != (metric.of_load is None)


def test_the_rows_of_a_plan_are_the_functions_of_their_names():
    logits = np.random.default_rng(0).normal(size=(2, 3, 4)).astype("float32")
    plan = assign_slots(choose_top_k(logits, 2), 4, capacity=1)
    functions = {
        "load_balancing_loss": load_balancing_loss,
        "router_z_loss": router_z_loss,
        "dropped_fraction": dropped_fraction,
        "unrouted_fraction": unrouted_fraction,
        "router_entropy": router_entropy,
    }
    for name, function in functions.items():
        value = float(ROUTING_METRICS[name].of_plan(plan))
        assert value == float(function(plan)) > 0.0


def test_a_row_needs_scores_where_it_says_so():
    plan = choose_top_k(np.zeros((1, 3, 4), "float32"), 2)
    plan = assign_slots(plan, 4, capacity=1)._replace(scores=None)
    for metric in ROUTING_METRICS.values():
        if metric.of_plan is None:
            continue
        if metric.needs_scores:
            with pytest.raises(ValueError, match="a router with scores"):
                metric.of_plan(plan)
        else:
            metric.of_plan(plan)


def test_of_a_model_the_worst_violation_counts_and_otherwise_the_mean():
    assert ROUTING_METRICS["max_violation"].of_load is max_violation
    for name, metric in ROUTING_METRICS.items():
        expected = 5.0 if name == "max_violation" else 3.0
        assert metric.over_layers([1.0, 5.0]) == expected
