"""DeepSeek-V3: https://arxiv.org/abs/2412.19437."""

from keras_moe.models.deepseek_v3.deepseek_v3_backbone import DeepSeekV3Backbone
from keras_moe.models.deepseek_v3.deepseek_v3_causal_lm import (
    DeepSeekV3CausalLM,
)
from keras_moe.models.deepseek_v3.deepseek_v3_presets import DEEPSEEK_V3_PRESETS

__all__ = ["DEEPSEEK_V3_PRESETS", "DeepSeekV3Backbone", "DeepSeekV3CausalLM"]
