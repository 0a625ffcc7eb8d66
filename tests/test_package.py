"""`import keras_moe` gives every room, when it is first used."""

from pathlib import Path

import pytest

import keras_moe

pytestmark = pytest.mark.once

ROOMS = [
    path.parent.name
    for path in sorted(Path(keras_moe.__file__).parent.glob("*/__init__.py"))
]


def test_every_room_but_the_command_is_listed():
    assert sorted([*keras_moe.__all__, "cli"]) == ROOMS
    assert {*keras_moe.__all__, "__version__"} == {*dir(keras_moe)}


@pytest.mark.parametrize("name", keras_moe.__all__)
def test_a_room_is_imported_when_it_is_asked_for(name):
    # Directly: another test may have imported the room already, and then
    # Python finds it without asking.
    assert keras_moe.__getattr__(name).__name__ == f"keras_moe.{name}"


def test_what_is_no_room_is_no_attribute():
    with pytest.raises(AttributeError, match="no attribute 'distribution'"):
        keras_moe.__getattr__("distribution")
