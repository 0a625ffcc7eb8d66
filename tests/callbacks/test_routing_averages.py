import numpy as np
import pytest

from keras_moe.callbacks.routing_averages import averages_between
from keras_moe.callbacks.routing_averages import averages_over_layers

# Averages of NumPy arrays.
pytestmark = pytest.mark.once


def averages(load, number):
    """Averages of one step with all scalars the same number."""
    scalars = (
        "load_balancing_loss",
        "router_z_loss",
        "dropped_fraction",
        "unrouted_fraction",
        "router_entropy",
    )
    return {
        "expert_load": np.array(load, "float32"),
        **dict.fromkeys(scalars, np.float32(number)),
    }


def test_subtracts_what_was_known_before():
    earlier = {"steps": 3, **averages([0.5, 0.25, 0.25], 2.0)}
    later = {"steps": 5, **averages([0.4, 0.3, 0.3], 1.8)}

    between = averages_between(earlier, later)

    # (5 * 0.4 - 3 * 0.5) / 2 = 0.25, (5 * 0.3 - 3 * 0.25) / 2 = 0.375
    np.testing.assert_allclose(
        between["expert_load"], [0.25, 0.375, 0.375], rtol=1e-6
    )
    # (5 * 1.8 - 3 * 2) / 2 = 1.5
    for name in ("load_balancing_loss", "router_z_loss"):
        assert between[name] == pytest.approx(1.5, rel=1e-6)
    for name in ("dropped_fraction", "router_entropy"):
        assert between[name] == pytest.approx(1.5, rel=1e-6)
    assert between["steps"] == 2
    # 3 * 0.375 - 1
    assert between["max_violation"] == pytest.approx(0.125, rel=1e-5)


def test_without_an_earlier_result_everything_is_new():
    later = {"steps": 4, **averages([0.75, 0.25], 0.5)}

    between = averages_between(None, later)

    assert between["steps"] == 4
    assert between["expert_load"].tolist() == [0.75, 0.25]
    assert between["router_z_loss"] == 0.5
    assert between["max_violation"] == 0.5


def test_no_step_in_between_gives_none():
    result = {"steps": 4, **averages([0.75, 0.25], 0.5)}

    assert averages_between(result, result) is None


def test_rounding_makes_no_load_negative():
    third = np.float32(1) / np.float32(3)
    earlier = {"steps": 3, **averages([third, 1 - third], 0.0)}
    later = {"steps": 7, **averages([3 * third / 7.0000005, 1.0], 0.0)}

    between = averages_between(earlier, later)

    assert between["expert_load"][0] >= 0.0


def test_over_layers_averages_all_but_the_largest_violation():
    first = {**averages([], 1.0), "max_violation": 0.5}
    second = {**averages([], 4.0), "max_violation": 0.25}

    assert averages_over_layers([first, second]) == {
        "load_balancing_loss": 2.5,
        "router_z_loss": 2.5,
        "max_violation": 0.5,
        "dropped_fraction": 2.5,
        "unrouted_fraction": 2.5,
        "router_entropy": 2.5,
    }
