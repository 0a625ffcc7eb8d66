"""Mixtral with its language-model head, for training and generation."""

import keras

from keras_moe.models.mixtral.mixtral_backbone import MixtralBackbone
from keras_moe.models.sparse_causal_lm import SparseCausalLM


@keras.saving.register_keras_serializable(package="keras_moe")
class MixtralCausalLM(SparseCausalLM):
    """Predicts the next token from `MixtralBackbone`, and generates."""

    backbone_cls = MixtralBackbone
