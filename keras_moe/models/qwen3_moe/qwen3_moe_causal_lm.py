"""Qwen3-MoE with its language-model head, for training and generation."""

import keras

from keras_moe.models.qwen3_moe.qwen3_moe_backbone import Qwen3MoEBackbone
from keras_moe.models.sparse_causal_lm import SparseCausalLM


@keras.saving.register_keras_serializable(package="keras_moe")
class Qwen3MoECausalLM(SparseCausalLM):
    """Predicts the next token from `Qwen3MoEBackbone`, and generates."""

    backbone_cls = Qwen3MoEBackbone
