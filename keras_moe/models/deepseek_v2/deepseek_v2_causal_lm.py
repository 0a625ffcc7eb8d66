"""DeepSeek-V2 with its language-model head, for training and generation."""

import keras

from keras_moe.models.deepseek_v2.deepseek_v2_backbone import DeepSeekV2Backbone
from keras_moe.models.sparse_causal_lm import SparseCausalLM


@keras.saving.register_keras_serializable(package="keras_moe")
class DeepSeekV2CausalLM(SparseCausalLM):
    """Predicts the next token from `DeepSeekV2Backbone`, and generates."""

    backbone_cls = DeepSeekV2Backbone
