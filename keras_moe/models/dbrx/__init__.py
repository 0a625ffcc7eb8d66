"""DBRX: https://www.databricks.com/blog/introducing-dbrx-new-state-art-open-llm."""

from keras_moe.models.dbrx.dbrx_backbone import DbrxBackbone
from keras_moe.models.dbrx.dbrx_causal_lm import DbrxCausalLM
from keras_moe.models.dbrx.dbrx_presets import DBRX_PRESETS

__all__ = ["DBRX_PRESETS", "DbrxBackbone", "DbrxCausalLM"]
