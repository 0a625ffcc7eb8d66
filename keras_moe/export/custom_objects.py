"""Find the classes that another process must import to load a model."""

import importlib
import json
import zipfile
from typing import NamedTuple

import keras


class CustomObject(NamedTuple):
    """A class or function that a saved model refers to by name.

    Attributes:
        module: string, the module that defines it.
        name: string, its name in that module.
        registered_name: string, the key under which Keras looks it up.
    """

    module: str
    name: str
    registered_name: str


def find_custom_objects(model_file):
    """List the classes and functions from outside Keras in a `.keras` file.

    Losses, metrics and optimizers are left out: inference needs none.

    Args:
        model_file: string or `pathlib.Path` of a `.keras` file.

    Returns:
        A sorted list of `CustomObject`.

    Raises:
        ValueError: if one of them lives in the script that is running, which
            no other process can import.
    """
    with zipfile.ZipFile(model_file) as archive:
        config = json.loads(archive.read("config.json"))
    found = {_describe(record) for record in _records(config)} - {None}
    in_script = sorted(x.name for x in found if x.module == "__main__")
    if in_script:
        raise ValueError(
            "Expected every custom class and function of the model to live "
            "in a module that another process can import. Received: "
            f"{', '.join(in_script)}, defined in the running script "
            "(__main__). Move it to a module of its own, such as layers.py "
            "next to the script, and import it from there."
        )
    return sorted(found)


def import_custom_objects(objects):
    """Import the modules of custom objects, which registers most of them.

    Args:
        objects: list of `CustomObject`.

    Returns:
        A dict for the `custom_objects` argument of Keras' loading functions,
        with those that their module does not register.

    Raises:
        ValueError: if a module does not define the object it should.
    """
    unregistered = {}
    for module, name, registered_name in objects:
        imported = importlib.import_module(module)
        if keras.saving.get_registered_object(registered_name) is not None:
            continue
        if not hasattr(imported, name):
            raise ValueError(
                f"Expected {name} at the top level of the module {module}. "
                "Received: a module without it. Move the definition out of "
                "the function that holds it."
            )
        unregistered[registered_name] = getattr(imported, name)
    return unregistered


def _describe(record):
    """Turn the record of an object in a config into a `CustomObject`."""
    if record["class_name"] == "function":
        # A function's record names no module, but its registration does.
        key = record["config"]
        function = keras.saving.get_registered_object(key)
        if function is None:
            return None
        return CustomObject(function.__module__, function.__name__, key)
    package = (record["module"] or "").split(".", maxsplit=1)[0]
    if package in ("keras", "builtins"):
        return None
    name = record["class_name"]
    # Keras writes no module for what is defined in `__main__`.
    return CustomObject(
        record["module"] or "__main__", name, record["registered_name"] or name
    )


def _records(node):
    """Walk a config and yield the records of classes and functions."""
    if isinstance(node, list):
        for item in node:
            yield from _records(item)
    elif isinstance(node, dict):
        if {"module", "class_name", "config", "registered_name"} <= set(node):
            yield node
        for key, value in node.items():
            if key != "compile_config":
                yield from _records(value)
