"""DeepSeek-V2: https://arxiv.org/abs/2405.04434."""

from keras_moe.models.deepseek_v2.deepseek_v2_backbone import DeepSeekV2Backbone
from keras_moe.models.deepseek_v2.deepseek_v2_causal_lm import (
    DeepSeekV2CausalLM,
)
from keras_moe.models.deepseek_v2.deepseek_v2_presets import DEEPSEEK_V2_PRESETS

__all__ = ["DEEPSEEK_V2_PRESETS", "DeepSeekV2Backbone", "DeepSeekV2CausalLM"]
