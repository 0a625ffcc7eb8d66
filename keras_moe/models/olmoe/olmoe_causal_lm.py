"""OLMoE with its language-model head, for training and generation."""

import keras

from keras_moe.models.olmoe.olmoe_backbone import OLMoEBackbone
from keras_moe.models.sparse_causal_lm import SparseCausalLM


@keras.saving.register_keras_serializable(package="keras_moe")
class OLMoECausalLM(SparseCausalLM):
    """Predicts the next token, and generates with a key/value cache.

    A `keras_hub.models.CausalLM`: `fit()` trains on logits of shape
    (B, L, V), `compile(sampler=...)` takes any keras-hub sampler and
    `generate()` runs compiled, one token at a time.

    Args:
        backbone: `OLMoEBackbone`.
        preprocessor: optional `keras_hub.models.CausalLMPreprocessor`; with
            `None`, inputs are dictionaries of `token_ids` and `padding_mask`.

    Outputs: float32 logits of shape (B, L, V).

    Example:

    >>> import numpy as np
    >>> from keras_moe.models.olmoe import OLMoEBackbone
    >>> from keras_moe.models.olmoe import OLMoECausalLM
    >>> backbone = OLMoEBackbone(
    ...     vocabulary_size=64, num_layers=1, num_query_heads=4,
    ...     num_key_value_heads=2, hidden_dim=16, intermediate_dim=8,
    ...     num_experts=16,
    ... )
    >>> model = OLMoECausalLM(backbone)
    >>> model.compile(sampler="greedy")
    >>> prompt = np.array([[1, 2, 0, 0]], "int32")
    >>> outputs = model.generate(
    ...     {"token_ids": prompt, "padding_mask": prompt > 0},
    ...     stop_token_ids=None,
    ... )
    >>> outputs["token_ids"].shape  # the prompt and two new tokens
    (1, 4)
    """

    backbone_cls = OLMoEBackbone
