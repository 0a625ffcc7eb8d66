"""OLMoE: https://arxiv.org/abs/2409.02060."""

from keras_moe.models.olmoe.olmoe_backbone import OLMoEBackbone
from keras_moe.models.olmoe.olmoe_causal_lm import OLMoECausalLM
from keras_moe.models.olmoe.olmoe_presets import OLMOE_PRESETS

__all__ = ["OLMOE_PRESETS", "OLMoEBackbone", "OLMoECausalLM"]
