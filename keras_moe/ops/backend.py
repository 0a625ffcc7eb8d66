"""The one place that chooses a backend's files."""

import importlib

import keras

BACKENDS = ("jax", "torch", "tensorflow")


def load(name):
    """Import `keras_moe.ops.<backend>.<name>` for the active backend.

    Args:
        name: file name without ending, such as `"sorting"`.

    Returns:
        The module.

    Raises:
        ValueError: If Keras runs on a backend that has no such files.

    Example:

    >>> load("sorting").__name__.endswith("sorting")
    True
    """
    backend = keras.config.backend()
    if backend not in BACKENDS:
        raise ValueError(
            f"Expected the Keras backend to be one of {list(BACKENDS)}. "
            f"Received: backend={backend!r}. Set the environment variable "
            "KERAS_BACKEND before Keras is imported."
        )
    return importlib.import_module(f"keras_moe.ops.{backend}.{name}")
