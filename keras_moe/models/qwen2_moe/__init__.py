"""Qwen1.5-MoE and Qwen2-MoE: https://arxiv.org/abs/2407.10671."""

from keras_moe.models.qwen2_moe.qwen2_moe_backbone import Qwen2MoEBackbone
from keras_moe.models.qwen2_moe.qwen2_moe_causal_lm import Qwen2MoECausalLM
from keras_moe.models.qwen2_moe.qwen2_moe_presets import QWEN2_MOE_PRESETS

__all__ = ["QWEN2_MOE_PRESETS", "Qwen2MoEBackbone", "Qwen2MoECausalLM"]
