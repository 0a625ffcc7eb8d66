"""OpenMoE: https://arxiv.org/abs/2402.01739."""

from keras_moe.models.openmoe.openmoe_backbone import OpenMoEBackbone
from keras_moe.models.openmoe.openmoe_causal_lm import OpenMoECausalLM
from keras_moe.models.openmoe.openmoe_presets import OPENMOE_PRESETS

__all__ = ["OPENMOE_PRESETS", "OpenMoEBackbone", "OpenMoECausalLM"]
