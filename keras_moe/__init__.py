"""Mixture-of-Experts for Keras 3: sparse layers, losses, models and export.

Every room is a subpackage and is imported when it is first used, so that
`keras_moe.layers` works without keras-hub and `keras_moe.export` does not
slow down a training script that never exports.
"""

import importlib

__version__ = "0.1.0"

__all__ = [
    "blocks",
    "callbacks",
    "dispatch",
    "experts",
    "export",
    "layers",
    "losses",
    "metrics",
    "models",
    "ops",
    "routing",
    "testing",
    "visualization",
]

# Registered classes must be known before `keras.saving.load_model` runs.
from keras_moe import layers as layers


def __getattr__(name):
    if name in __all__:
        return importlib.import_module(f"keras_moe.{name}")
    raise AttributeError(f"module 'keras_moe' has no attribute {name!r}")


def __dir__():
    return [*__all__, "__version__"]
