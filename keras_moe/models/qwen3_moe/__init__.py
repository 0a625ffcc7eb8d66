"""Qwen3-MoE: https://arxiv.org/abs/2505.09388."""

from keras_moe.models.qwen3_moe.qwen3_moe_backbone import Qwen3MoEBackbone
from keras_moe.models.qwen3_moe.qwen3_moe_causal_lm import Qwen3MoECausalLM
from keras_moe.models.qwen3_moe.qwen3_moe_presets import QWEN3_MOE_PRESETS

__all__ = ["QWEN3_MOE_PRESETS", "Qwen3MoEBackbone", "Qwen3MoECausalLM"]
