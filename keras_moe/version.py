"""The version of the package, without importing Keras."""

__version__ = "0.1.0"
