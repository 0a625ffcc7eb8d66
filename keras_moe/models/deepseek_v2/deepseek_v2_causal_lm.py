"""DeepSeek-V2 with its language-model head, for training and generation."""

import keras

from keras_moe.models.deepseek_v2.deepseek_v2_backbone import DeepSeekV2Backbone
from keras_moe.models.sparse_causal_lm import SparseCausalLM


@keras.saving.register_keras_serializable(package="keras_moe")
class DeepSeekV2CausalLM(SparseCausalLM):
    """Predicts the next token, and generates with a cache of latents.

    A `keras_hub.models.CausalLM`: `fit()` trains on logits of shape
    (B, L, V), `compile(sampler=...)` takes any keras-hub sampler and
    `generate()` runs compiled, one token at a time.

    Args:
        backbone: `DeepSeekV2Backbone`.
        preprocessor: optional `keras_hub.models.CausalLMPreprocessor`; with
            `None`, inputs are dictionaries of `token_ids` and `padding_mask`.

    Outputs: float32 logits of shape (B, L, V).

    Example:

    >>> import numpy as np
    >>> backbone = DeepSeekV2Backbone(
    ...     vocabulary_size=64, num_layers=2, num_query_heads=4,
    ...     hidden_dim=16, intermediate_dim=8, dense_intermediate_dim=32,
    ...     num_experts=8, top_k=2, key_value_latent_dim=8, nope_head_dim=4,
    ...     rope_head_dim=2, value_head_dim=4,
    ... )
    >>> model = DeepSeekV2CausalLM(backbone)
    >>> model.compile(sampler="greedy")
    >>> prompt = np.array([[1, 2, 0, 0]], "int32")
    >>> outputs = model.generate(
    ...     {"token_ids": prompt, "padding_mask": prompt > 0},
    ...     stop_token_ids=None,
    ... )
    >>> outputs["token_ids"].shape  # the prompt and two new tokens
    (1, 4)
    """

    backbone_cls = DeepSeekV2Backbone
