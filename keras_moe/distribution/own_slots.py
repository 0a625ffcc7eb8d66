"""Optimizer slots of the experts that a process holds (PyTorch)."""

import contextlib

import keras


def mark_slots(optimizer, weights):
    """Note which of an optimizer's variables are those of own experts.

    An optimizer does not tell for which weight it made a variable. So another
    one of its class is built, for weights of one number each and two in those
    of experts: what has two is of experts.

    Args:
        optimizer: `keras.optimizers.Optimizer`, built.
        weights: list of `keras.Variable`, those that it was built with.

    Example:

    >>> import keras
    >>> optimizer = keras.optimizers.SGD()
    >>> mark_slots(optimizer, [keras.Variable([1.0])])
    """
    if not any(getattr(weight, "is_part", False) for weight in weights):
        return
    if any(getattr(slot, "is_part", False) for slot in optimizer.variables):
        return  # Noted before, when the run was saved or restored.
    small = type(optimizer).from_config(optimizer.get_config())
    small.build([_small(weight) for weight in weights])
    for ours, theirs in zip(optimizer.variables, small.variables, strict=True):
        if 2 in theirs.shape[:1]:
            ours.is_part = True


def _small(weight):
    """Make a variable of the same path, with as many axes."""
    shape = [1] * len(weight.shape)
    if getattr(weight, "is_part", False):
        shape[0] = 2
    *scopes, name = weight.path.split("/")
    with contextlib.ExitStack() as path:
        for each in scopes:
            path.enter_context(keras.name_scope(each))
        return keras.Variable(
            "zeros", shape=shape, dtype=weight.dtype, name=name
        )
