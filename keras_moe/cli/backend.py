"""The backend that `KERAS_BACKEND` names, checked before Keras reads it."""

import contextlib
import importlib
import importlib.util
import os
import sys

import typer

from keras_moe.cli.console import print_error

BACKENDS = ("jax", "torch", "tensorflow")


def check_backend():
    """Refuse a backend that is unknown or not installed.

    Without `KERAS_BACKEND` the choice is left to Keras.

    Raises:
        typer.Exit: With code 2, if the name is unknown.
        ImportError: If the backend's package is missing.
    """
    name = os.environ.get("KERAS_BACKEND")
    if not name:
        return
    if name not in BACKENDS:
        print_error(
            "Expected KERAS_BACKEND to be jax, torch or tensorflow. "
            f"Received: KERAS_BACKEND={name}."
        )
        raise typer.Exit(2)
    if importlib.util.find_spec(name) is None:
        raise ImportError(
            f"KERAS_BACKEND={name} needs the package {name}: "
            f"pip install 'keras-moe[{name}]'"
        )


def import_models():
    """Import Keras, keras-hub and our models without their start-up messages.

    TensorFlow writes lines about its build and a missing GPU to the error
    stream, whatever its settings: once at import and once at its start. The
    stream is redirected for that time. Call this before the first import of
    Keras.

    Raises:
        ImportError: If keras-hub or the backend is missing.
    """
    # For the messages of TensorFlow after the import.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with error_stream_aside():
        importlib.import_module("keras_moe.models")
        import keras

        # Seeding starts every framework that Keras has imported.
        keras.utils.set_random_seed(0)


@contextlib.contextmanager
def error_stream_aside():
    """Send the file descriptor of the error stream to nowhere for a while."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(nowhere)
        os.close(kept)
