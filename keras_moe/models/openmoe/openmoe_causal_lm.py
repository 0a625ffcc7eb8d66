"""OpenMoE with its language-model head, for training and generation."""

import keras

from keras_moe.models.openmoe.openmoe_backbone import OpenMoEBackbone
from keras_moe.models.sparse_causal_lm import SparseCausalLM
from keras_moe.models.sparse_causal_lm_preprocessor import preprocessor_of


@keras.saving.register_keras_serializable(package="keras_moe")
class OpenMoECausalLM(SparseCausalLM):
    """Predicts the next token from `OpenMoEBackbone`, and generates.

    The published models expect every prompt to start with token 0, which is
    also their padding.
    """

    backbone_cls = OpenMoEBackbone

    @classmethod
    def published_preprocessor(cls, folder):
        # The published tokenizer starts every text with its padding token, in
        # code of its own.
        return preprocessor_of(folder, start_token_id=0)
