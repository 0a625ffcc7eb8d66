"""Grok-1: https://github.com/xai-org/grok-1."""

from keras_moe.models.grok1.grok1_backbone import Grok1Backbone
from keras_moe.models.grok1.grok1_causal_lm import Grok1CausalLM
from keras_moe.models.grok1.grok1_presets import GROK1_PRESETS

__all__ = ["GROK1_PRESETS", "Grok1Backbone", "Grok1CausalLM"]
