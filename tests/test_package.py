"""`import keras_moe` gives every room, when it is first used."""

import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest

import keras_moe

pytestmark = pytest.mark.once

# Files of another backend than this one, and programs.
NOT_IMPORTED = (
    "keras_moe.ops.jax",
    "keras_moe.ops.tensorflow",
    # PyTorch for CPU comes without Triton.
    "keras_moe.ops.torch.triton_kernels",
)
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
    with pytest.raises(AttributeError, match="no attribute 'utils'"):
        keras_moe.__getattr__("utils")


def package_classes():
    for module in pkgutil.walk_packages(keras_moe.__path__, "keras_moe."):
        name = module.name
        if not name.startswith(NOT_IMPORTED) and not name.endswith("__main__"):
            members = vars(importlib.import_module(name)).values()
            for each in filter(inspect.isclass, members):
                if each.__module__ == name:
                    yield each


def private_overrides(each):
    """Lists what a class overrides of the private names of others' classes."""
    ours = {
        name
        for name, value in vars(each).items()
        if name.startswith("_") and not name.endswith("__")
        # Python and PyTorch set some themselves.
        if name not in ("_abc_impl", "_backward_cls")
    }
    return [
        f"{each.__name__}.{name} of {base.__name__}"
        for base in each.__mro__[1:]
        if not base.__module__.startswith("keras_moe") and base is not tuple
        for name in ours & {*vars(base)}
    ]


def test_no_private_method_of_another_package_is_overridden():
    # By intention or by accident: the next version may call it otherwise.
    classes = [*package_classes()]
    assert len(classes) > 100
    assert not [name for each in classes for name in private_overrides(each)]


def test_an_override_is_found():
    class Theirs:
        def _method(self):
            pass

    class Ours(Theirs):
        def _method(self):
            pass

        def _other(self):
            pass

    assert private_overrides(Ours) == ["Ours._method of Theirs"]
