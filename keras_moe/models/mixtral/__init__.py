"""Mixtral: https://arxiv.org/abs/2401.04088."""

from keras_moe.models.mixtral.mixtral_backbone import MixtralBackbone
from keras_moe.models.mixtral.mixtral_causal_lm import MixtralCausalLM
from keras_moe.models.mixtral.mixtral_presets import MIXTRAL_PRESETS

__all__ = ["MIXTRAL_PRESETS", "MixtralBackbone", "MixtralCausalLM"]
