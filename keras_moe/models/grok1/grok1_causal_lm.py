"""Grok-1 with its language-model head, for training and generation."""

import keras

from keras_moe.models.grok1.grok1_backbone import Grok1Backbone
from keras_moe.models.sparse_causal_lm import SparseCausalLM


@keras.saving.register_keras_serializable(package="keras_moe")
class Grok1CausalLM(SparseCausalLM):
    """Predicts the next token from `Grok1Backbone`, and generates."""

    backbone_cls = Grok1Backbone
