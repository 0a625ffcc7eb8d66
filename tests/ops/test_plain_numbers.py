"""NumPy's numbers among a constructor's arguments."""

import inspect
from typing import NamedTuple

import numpy as np
import pytest

from keras_moe.ops.plain_numbers import plain_numbers
from keras_moe.ops.plain_numbers import to_plain

pytestmark = pytest.mark.once


class Pair(NamedTuple):
    first: object
    second: object


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (np.int64(3), 3),
        (np.float32(0.5), 0.5),
        (np.bool_(True), True),
        (np.array(2), 2),
        ([np.int8(1), None], [1, None]),
        ({"a": (np.float16(2.0),)}, {"a": (2.0,)}),
        (Pair(np.int32(1), "x"), Pair(1, "x")),
    ],
)
def test_numbers_become_plain_in_any_structure(number, expected):
    plain = to_plain(number)
    assert plain == expected
    assert type(plain) is type(expected)


def test_arrays_and_objects_stay_what_they_are():
    array, thing = np.ones(2), object()
    assert to_plain([array, thing]) == [array, thing]


def test_a_constructor_keeps_its_signature():
    class Layer:
        @plain_numbers
        def __init__(self, size, *, rate=0.0):
            self.size, self.rate = size, rate

    parameters = inspect.signature(Layer.__init__).parameters
    assert list(parameters) == ["self", "size", "rate"]
    assert inspect.getfullargspec(Layer.__init__).kwonlyargs == ["rate"]
    layer = Layer(np.int64(2), rate=np.float32(0.25))
    assert (type(layer.size), type(layer.rate)) == (int, float)
