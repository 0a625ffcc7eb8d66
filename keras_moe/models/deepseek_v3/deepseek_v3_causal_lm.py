"""DeepSeek-V3 with its language-model head, for training and generation."""

import keras

from keras_moe.models.deepseek_v3.deepseek_v3_backbone import DeepSeekV3Backbone
from keras_moe.models.sparse_causal_lm import SparseCausalLM


@keras.saving.register_keras_serializable(package="keras_moe")
class DeepSeekV3CausalLM(SparseCausalLM):
    """Predicts the next token from `DeepSeekV3Backbone`, and generates."""

    backbone_cls = DeepSeekV3Backbone
