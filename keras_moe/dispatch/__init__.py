"""Carrying tokens to their experts and back: no weights, no arithmetic."""

from keras_moe.dispatch.carry import carry
from keras_moe.dispatch.carry import check_strategy

__all__ = ["carry", "check_strategy"]
