"""The one place that chooses a backend's files."""

import importlib
import importlib.util

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
    return importlib.import_module(f"{_folder()}.{name}")


def load_or(name, shared):
    """Import a backend's own version of what the others share, if any.

    Args:
        name: file name without ending.
        shared: what serves where the backend has no such file.

    Returns:
        `keras_moe.ops.<backend>.<name>` if there is one, else `shared`.

    Raises:
        ValueError: If Keras runs on a backend that has no files at all.

    Example:

    >>> load_or("no_such_file", "shared")
    'shared'
    """
    has_its_own = importlib.util.find_spec(f"{_folder()}.{name}")
    return load(name) if has_its_own else shared


def _folder():
    backend = keras.config.backend()
    if backend not in BACKENDS:
        raise ValueError(
            f"Expected the Keras backend to be one of {list(BACKENDS)}. "
            f"Received: backend={backend!r}. Set the environment variable "
            "KERAS_BACKEND before Keras is imported."
        )
    return f"keras_moe.ops.{backend}"
