"""OLMoE with its language-model head, for training and generation."""

import keras

from keras_moe.models.olmoe.olmoe_backbone import OLMoEBackbone
from keras_moe.models.sparse_causal_lm import SparseCausalLM


@keras.saving.register_keras_serializable(package="keras_moe")
class OLMoECausalLM(SparseCausalLM):
    """Predicts the next token from `OLMoEBackbone`, and generates."""

    backbone_cls = OLMoEBackbone
