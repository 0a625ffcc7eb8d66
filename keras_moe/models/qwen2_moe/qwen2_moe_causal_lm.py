"""Qwen2-MoE with its language-model head, for training and generation."""

import keras

from keras_moe.models.qwen2_moe.qwen2_moe_backbone import Qwen2MoEBackbone
from keras_moe.models.sparse_causal_lm import SparseCausalLM


@keras.saving.register_keras_serializable(package="keras_moe")
class Qwen2MoECausalLM(SparseCausalLM):
    """Predicts the next token from `Qwen2MoEBackbone`, and generates."""

    backbone_cls = Qwen2MoEBackbone
