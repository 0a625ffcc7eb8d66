"""Which dispatcher serves a layer."""

import pytest
from keras import distribution

from keras_moe.dispatch import CapacityDispatcher
from keras_moe.dispatch import DenseDispatcher
from keras_moe.dispatch import SortedDispatcher
from keras_moe.dispatch import check_dispatcher
from keras_moe.dispatch import choose_dispatcher


def chosen(name, case):
    return type(choose_dispatcher(name, case.plan, case.assignment, 4))


def test_a_name_gets_the_dispatcher_of_that_name(make_case):
    case = make_case(capacity=2)
    assert chosen("sorted", case) is SortedDispatcher
    assert chosen("capacity", case) is CapacityDispatcher
    assert chosen("dense", case) is DenseDispatcher


def test_auto_sorts_with_and_without_capacity(make_case):
    assert chosen("auto", make_case()) is SortedDispatcher
    assert chosen("auto", make_case(capacity=2)) is SortedDispatcher


def test_auto_takes_static_slots_under_a_distribution(make_case, monkeypatch):
    monkeypatch.setattr(distribution, "distribution", lambda: "a mesh")
    assert chosen("auto", make_case(capacity=2)) is CapacityDispatcher
    assert chosen("auto", make_case()) is SortedDispatcher


@pytest.mark.parametrize("name", ["fast", "Sorted", None])
def test_an_unknown_name_is_refused_with_the_known_ones(name, make_case):
    known = r"\['auto', 'sorted', 'capacity', 'dense'\]"
    with pytest.raises(ValueError, match=known) as error:
        check_dispatcher(name)
    assert f"dispatcher={name!r}" in str(error.value)
    with pytest.raises(ValueError, match=known):
        chosen(name, make_case())
