"""Mixture-of-Experts for Keras 3: sparse layers, losses, models and export.

Every room is a subpackage and is imported when it is first used, so that
`keras_moe.layers` works without keras-hub and `keras_moe.export` does not
slow down a training script that never exports.
"""

import importlib
import sys
from pathlib import Path

from keras_moe.version import __version__ as __version__

__all__ = [
    "analysis",
    "balancing",
    "blocks",
    "callbacks",
    "checkpoints",
    "dispatch",
    "distribution",
    "experts",
    "export",
    "layers",
    "losses",
    "metrics",
    "models",
    "ops",
    "planning",
    "routing",
    "serving",
    "surgery",
    "testing",
    "visualization",
]


def _is_command():
    """Return whether this process is `keras-moe` or `-m keras_moe.cli`."""
    program = Path(sys.argv[0]).stem if sys.argv else ""
    # `python -m` has no file name yet while it looks for the module.
    return program == "keras-moe" or (
        program == "-m" and "keras_moe.cli" in sys.orig_argv
    )


# Registered classes must be known before `keras.saving.load_model` runs. The
# commands import what they need: `--help` does not wait for Keras.
if not _is_command():
    from keras_moe import layers as layers


def __getattr__(name):
    if name in __all__:
        return importlib.import_module(f"keras_moe.{name}")
    raise AttributeError(f"module 'keras_moe' has no attribute {name!r}")


def __dir__():
    return [*__all__, "__version__"]
