"""Functions of named arguments, from which TensorFlow reads defaults."""

import inspect

import pytest

from keras_moe.export.model_inputs import ModelInput
from keras_moe.export.optional_inputs import by_name

# TensorFlow alone.
pytestmark = pytest.mark.once


def test_required_arguments_come_first_and_all_reach_the_function():
    pytest.importorskip("tensorflow")
    inputs = [
        ModelInput("factor", (None,), "float32", [3.0]),
        ModelInput("x", (None,), "float32"),
    ]
    function, ordered = by_name(dict, inputs)
    assert [x.name for x in ordered] == ["x", "factor"]
    parameters = inspect.signature(function).parameters
    assert [*parameters] == ["x", "factor"]
    assert parameters["factor"].default.numpy().tolist() == [3.0]
    assert function(1, 2) == {"x": 1, "factor": 2}
