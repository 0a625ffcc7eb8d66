"""OpenMoE with its language-model head, for training and generation."""

import keras

from keras_moe.models.openmoe.openmoe_backbone import OpenMoEBackbone
from keras_moe.models.sparse_causal_lm import SparseCausalLM
from keras_moe.models.sparse_causal_lm_preprocessor import preprocessor_of


@keras.saving.register_keras_serializable(package="keras_moe")
class OpenMoECausalLM(SparseCausalLM):
    """Predicts the next token, and generates with a key/value cache.

    A `keras_hub.models.CausalLM`: `fit()` trains on logits of shape
    (B, L, V), `compile(sampler=...)` takes any keras-hub sampler and
    `generate()` runs compiled, one token at a time. The published models
    expect every prompt to start with token 0, which is also their padding.

    Args:
        backbone: `OpenMoEBackbone`.
        preprocessor: optional `keras_hub.models.CausalLMPreprocessor`; with
            `None`, inputs are dictionaries of `token_ids` and `padding_mask`.

    Outputs: float32 logits of shape (B, L, V).

    Example:

    >>> import numpy as np
    >>> from keras_moe.models.openmoe import OpenMoEBackbone, OpenMoECausalLM
    >>> backbone = OpenMoEBackbone(
    ...     vocabulary_size=64, num_layers=2, num_query_heads=4,
    ...     num_key_value_heads=4, hidden_dim=16, intermediate_dim=32,
    ...     num_experts=4, head_dim=6, expert_layer_stride=2,
    ... )
    >>> model = OpenMoECausalLM(backbone)
    >>> model.compile(sampler="greedy")
    >>> prompt = np.array([[0, 2, 0, 0]], "int32")
    >>> outputs = model.generate(
    ...     {"token_ids": prompt, "padding_mask": np.array([[1, 1, 0, 0]])},
    ...     stop_token_ids=None,
    ... )
    >>> outputs["token_ids"].shape  # the prompt and two new tokens
    (1, 4)
    """

    backbone_cls = OpenMoEBackbone

    @classmethod
    def published_preprocessor(cls, path):
        # The published tokenizer starts every text with its padding token, in
        # code of its own.
        return preprocessor_of(path, start_token_id=0)
