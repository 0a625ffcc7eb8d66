"""Which weights are the experts': known when they are made."""

import contextlib
from contextvars import ContextVar

import keras

from keras_moe.distribution.engines import check_is_heeded
from keras_moe.distribution.engines import warn_of_broken_fit

_are_made = ContextVar("_are_made", default=False)


@contextlib.contextmanager
def expert_weights():
    """Mark the weights that are made inside as those of stacked experts.

    Their first axis is E. A distribution asks when a variable gets its first
    value, which is while it is made, or later if Keras defers it: keep what
    `mark` returns.

    Yields:
        Function `mark(variable)` that remembers the mark, and returns the
        variable.

    Raises:
        NotImplementedError: If a distribution is set that the backend
            ignores.

    Example:

    >>> import keras
    >>> with expert_weights() as mark:
    ...     kernel = mark(keras.Variable([[1.0], [2.0]]))
    >>> is_expert_weight(kernel)
    True
    """
    check_is_heeded(keras.distribution.distribution())
    warn_of_broken_fit()
    token = _are_made.set(True)
    try:
        yield _mark
    finally:
        _are_made.reset(token)


def is_expert_weight(variable):
    """Tell whether the first axis of a variable is the experts'.

    Args:
        variable: `keras.Variable`.

    Returns:
        bool.

    Example:

    >>> import keras
    >>> is_expert_weight(keras.Variable([1.0]))
    False
    """
    return _are_made.get() or getattr(variable, "is_expert_weight", False)


def check_distribution(variables, distribution):
    """Raise unless experts' weights were made under a distribution.

    Args:
        variables: list of `keras.Variable`, marked.
        distribution: `ExpertParallel` that is set now.

    Raises:
        ValueError: Names the first variable that was not.
    """
    for variable in variables:
        made_under = getattr(variable, "made_under", None)
        if made_under is not distribution:
            other = "another" if made_under else "no"
            raise ValueError(
                "Expected a model made under the distribution that is set. "
                f"Received: {variable.path}, made under {other} distribution. "
                "Call `keras.distribution.set_distribution` once, before the "
                "model is made or loaded."
            )


def _mark(variable):
    variable.is_expert_weight = True
    variable.made_under = keras.distribution.distribution()
    return variable
