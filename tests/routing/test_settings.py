"""Arguments that belong together, as one value."""

import dataclasses
import json

import keras
import numpy as np
import pytest

from keras_moe.routing import Capacity
from keras_moe.routing import CombineWeights
from keras_moe.routing import ExpertGroups

# Compares numbers.
pytestmark = pytest.mark.once

VALUES = [
    Capacity(1.25, 2.0, priority="score", multiple_of=4),
    Capacity(slots=3),
    CombineWeights(normalize=False, power=2.0, scale=2.5),
    CombineWeights(),
    ExpertGroups(4, 2, "top2_sum"),
]


@pytest.mark.parametrize("value", VALUES)
def test_a_value_survives_its_configuration_and_json(value):
    assert type(value).from_config(value.get_config()) == value
    text = json.dumps(keras.saving.serialize_keras_object(value))
    assert keras.saving.deserialize_keras_object(json.loads(text)) == value
    assert "keras_moe>" in text


@pytest.mark.parametrize("value", VALUES)
def test_a_value_does_not_change(value):
    name = dataclasses.fields(value)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, name, 1)
    assert hash(value) == hash(type(value)(**value.get_config()))


def test_numpy_scalars_become_plain_numbers():
    value = Capacity(np.float32(1.5), slots=None, multiple_of=np.int64(4))
    assert value == Capacity(1.5, multiple_of=4)
    for name in ("factor", "multiple_of"):
        assert type(getattr(value, name)) in (int, float)
    assert json.dumps(ExpertGroups(np.int32(4), np.int8(2)).get_config())
