"""Serve SavedModels over HTTP and gRPC, with TensorFlow and without Keras."""

from keras_moe.serving.limits import Limits
from keras_moe.serving.server import Server

__all__ = ["Limits", "Server"]
