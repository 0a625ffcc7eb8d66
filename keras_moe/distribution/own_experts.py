"""Experts of this process, where each has variables of its own (PyTorch)."""

from types import SimpleNamespace
from typing import Any

import keras
from keras import ops

from keras_moe.distribution.shard_rules import axes_of_expert_weight


def own_part(arguments):
    """Change the arguments of `add_weight` to those of this process' experts.

    Args:
        arguments: dict with the `name`, `shape` (E, ...), `initializer` and
            optional `regularizer` of a weight of all experts.

    Returns:
        dict; `arguments` if a variable holds all experts.

    Raises:
        ValueError: If the experts cannot be divided.

    Example:

    >>> own_part({"name": "kernel", "shape": (4, 2, 2)})["shape"]
    (4, 2, 2)
    """
    own = _own_slice(arguments["shape"], arguments["name"])
    if own is None:
        return arguments
    part: dict[str, Any] = {
        "shape": (own.stop - own.start, *arguments["shape"][1:]),
        "initializer": _PartOf(arguments, own),
    }
    if arguments.get("regularizer"):
        # Processes average their losses, and each expert is in one of D.
        scale = arguments["shape"][0] // part["shape"][0]
        regularizer = arguments["regularizer"]
        part["regularizer"] = lambda weight: scale * regularizer(weight)
    return {**arguments, **part}


def mark_part(variable):
    """Note that a variable holds experts of this process alone.

    Args:
        variable: `keras.Variable` made of `own_part`.
    """
    _engine().mark_part(variable)


def whole_shape(variable):
    """Return the shape that a variable of all experts has.

    Args:
        variable: `keras.Variable` of this process' experts, or of all.

    Returns:
        tuple of ints.

    Example:

    >>> import keras
    >>> whole_shape(keras.Variable([[1.0, 2.0]]))
    (1, 2)
    """
    shape = tuple(variable.shape)
    if not getattr(variable, "is_part", False):
        return shape
    sizes = keras.distribution.distribution().axis_sizes
    return (sizes["expert"] * shape[0], *shape[1:])


def take_part(values, variable):
    """Take the experts that a variable holds.

    Args:
        values: array of shape (E, ...).
        variable: `keras.Variable` of this process' experts, or of all.

    Returns:
        Array of the variable's shape.
    """
    if not getattr(variable, "is_part", False):
        return values
    return values[_own_slice(values.shape, variable.path)]


def gather_parts(values, variable):
    """Return the values of all experts; all processes must call it.

    Args:
        values: tensor computed from a variable's value.
        variable: `keras.Variable` of this process' experts, or of all.

    Returns:
        Tensor of shape (E, ...).
    """
    if not getattr(variable, "is_part", False):
        return values
    return _engine().gather_experts(values)


class _PartOf(keras.initializers.Initializer):
    """Draws all experts, so that each starts as in a single process."""

    def __init__(self, arguments, own):
        self.shape = arguments["shape"]
        self.initializer = keras.initializers.get(arguments["initializer"])
        self.own = own

    def __call__(self, shape, dtype=None):
        whole = self.initializer(self.shape, dtype=dtype)
        return ops.copy(whole[self.own])


def _own_slice(shape, path):
    engine = _engine()
    if engine is None:
        return None
    sizes = keras.distribution.distribution().axis_sizes
    axes_of_expert_weight(SimpleNamespace(shape=shape, path=path), sizes)
    return engine.own_experts(shape[0], sizes)


def _engine():
    return getattr(keras.distribution.distribution(), "engine", None)
