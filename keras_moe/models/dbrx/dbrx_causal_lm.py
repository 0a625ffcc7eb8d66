"""DBRX with its language-model head, for training and generation."""

import keras

from keras_moe.models.dbrx.dbrx_backbone import DbrxBackbone
from keras_moe.models.sparse_causal_lm import SparseCausalLM


@keras.saving.register_keras_serializable(package="keras_moe")
class DbrxCausalLM(SparseCausalLM):
    """Predicts the next token from `DbrxBackbone`, and generates."""

    backbone_cls = DbrxBackbone
