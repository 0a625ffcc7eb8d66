"""What all decoder-only language models share."""

import keras
import keras_hub
from keras import ops

from keras_moe.models.generative_task import GenerativeTask
from keras_moe.models.preset_folder import is_of_keras_hub
from keras_moe.models.prompts import check_if_known
from keras_moe.models.published_task import PublishedTask
from keras_moe.models.sparse_causal_lm_preprocessor import preprocessor_of
from keras_moe.models.sparse_task import SparseTask


class SparseCausalLM(
    PublishedTask, GenerativeTask, SparseTask, keras_hub.models.CausalLM
):
    """Predicts the next token, and generates with a key/value cache.

    A `keras_hub.models.CausalLM`: `fit()` trains on logits of shape
    (B, L, V), `compile(sampler=...)` takes any keras-hub sampler and
    `generate()` runs compiled, one token at a time. Not used by itself: each
    architecture's task names its `backbone_cls`.

    Args:
        backbone: a `DecoderBackbone`.
        preprocessor: optional `keras_hub.models.CausalLMPreprocessor`; with
            `None`, inputs are dictionaries of `token_ids` and `padding_mask`.

    Outputs: float32 logits of shape (B, L, V).
    """

    def __init__(self, backbone, preprocessor=None, **kwargs):
        # === Layers ===
        self.backbone = backbone
        self.preprocessor = preprocessor

        # === Functional Model ===
        inputs = backbone.input
        super().__init__(
            inputs=inputs, outputs=backbone.logits(backbone(inputs)), **kwargs
        )

    @property
    def first_is_real(self):  # type: ignore[override]
        """bool: whether position 0 counts whatever the mask says."""
        return self.backbone.keep_first_token

    @classmethod
    def published_preprocessor(cls, path):
        if is_of_keras_hub(path):
            return keras_hub.models.CausalLMPreprocessor.from_preset(str(path))
        return preprocessor_of(path)

    def call_with_cache(
        self, token_ids, cache, cache_update_index, padding_mask=None
    ):
        """Run the decoder on new tokens, reading and writing the cache.

        Args:
            token_ids: int32 tensor of shape (B, L): the new tokens.
            cache: tuple with one attention's cache for each layer.
            cache_update_index: int or scalar tensor, position of the first
                new token.
            padding_mask: optional bool tensor of shape (B, L); the experts
                skip tokens that are False.

        Returns:
            Logits (B, L, V), hidden states (B, L, H) and the new cache.
        """
        x = self.backbone.embed(token_ids)
        new_cache = []
        for block, block_cache in zip(
            self.backbone.decoder_blocks, cache, strict=True
        ):
            x, block_cache = block(
                x,
                padding_mask=padding_mask,
                cache=block_cache,
                cache_update_index=cache_update_index,
            )
            new_cache.append(block_cache)
        hidden_states = self.backbone.final_norm(x)
        logits = self.backbone.logits(hidden_states)
        return logits, hidden_states, tuple(new_cache)

    def generate_step(self, inputs, stop_token_ids=None):
        """Generate for one batch: the function that is compiled.

        Args:
            inputs: dict of `token_ids`, int32 (B, X), prompts padded on the
                right to the length to be filled, and `padding_mask`, bool
                (B, X), True = token of the prompt.
            stop_token_ids: optional tuple of ints that end a sequence.

        Returns:
            dict of `token_ids`, int32 (B, X), and `padding_mask`, bool
            (B, X), True up to each sequence's end.
        """
        token_ids = inputs["token_ids"]
        prompt_mask = ops.cast(inputs["padding_mask"], "bool")
        prompt_lengths = ops.sum(ops.cast(prompt_mask, "int32"), axis=-1)
        first = ops.min(prompt_lengths)
        hidden_states, cache = self._fill_cache(token_ids, prompt_mask, first)
        step = self._recorder.recorded(
            self.call_with_cache, self.weights, self.run_eagerly
        )

        def next(prompt, cache, index):
            last = ops.slice(prompt, (0, index - 1), (ops.shape(prompt)[0], 1))
            logits, hidden_states, cache = step(last, cache, index - 1)
            return (
                ops.squeeze(logits, axis=1),
                ops.squeeze(hidden_states, axis=1),
                cache,
            )

        return self.sample(
            next, token_ids, prompt_mask, cache, stop_token_ids, hidden_states
        )

    def score(
        self,
        token_ids,
        padding_mask=None,
        scoring_mode="logits",
        layer_intercept_fn=None,
        target_ids=None,
    ):
        """Score tokens that are known, as keras-hub's models do.

        Args:
            token_ids: int32 tensor of shape (B, L), such as those of
                `generate`.
            padding_mask: optional bool tensor of shape (B, L), True = real
                token; `None` means all.
            scoring_mode: `"logits"`, or `"loss"` for each token's negative
                log-probability, in nats.
            layer_intercept_fn: optional function of activations (B, L, H) and
                their layer's index, -1 for the embedding, that returns the
                activations to go on with.
            target_ids: int32 tensor of shape (B, L), the tokens to come, which
                `"loss"` compares with: `keras.ops.roll(token_ids, -1, axis=1)`.

        Returns:
            float32 tensor, logits of shape (B, L, V) or losses of shape
            (B, L). What is computed for padding means nothing.

        Raises:
            ValueError: If the mode is unknown, targets are missing or a token
                id is not in the vocabulary.

        Example:

        >>> import numpy as np
        >>> from keras_moe.models import MixtralBackbone, MixtralCausalLM
        >>> model = MixtralCausalLM(MixtralBackbone(
        ...     vocabulary_size=20, num_layers=1, num_query_heads=2,
        ...     num_key_value_heads=1, hidden_dim=8, intermediate_dim=8,
        ...     num_experts=2,
        ... ))
        >>> token_ids = np.array([[3, 4, 5]])
        >>> losses = model.score(
        ...     token_ids, scoring_mode="loss", target_ids=[[4, 5, 6]]
        ... )
        >>> tuple(losses.shape)
        (1, 3)
        """
        if scoring_mode not in ("logits", "loss"):
            raise ValueError(
                "Expected `scoring_mode` to be 'logits' or 'loss'. Received: "
                f"scoring_mode={scoring_mode!r}"
            )
        if scoring_mode == "loss" and target_ids is None:
            raise ValueError(
                "Expected `target_ids` for scoring_mode='loss'. Received: "
                "target_ids=None. Pass the token ids moved left by one."
            )
        if padding_mask is None:
            padding_mask = ops.ones(ops.shape(token_ids), "bool")
        size = self.backbone.vocabulary_size
        check_if_known(token_ids, padding_mask, size)
        arguments = [layer_intercept_fn] if layer_intercept_fn else []
        logits = self.backbone.logits(
            self.backbone.hidden_states(
                ops.clip(token_ids, 0, size - 1),  # Padding may be anything.
                ops.convert_to_tensor(padding_mask),
                *arguments,
            )
        )
        if scoring_mode == "logits":
            return logits
        return keras.losses.SparseCategoricalCrossentropy(
            from_logits=True, reduction="none"
        )(ops.convert_to_tensor(target_ids), logits)

    def get_quantization_layer_structure(self, mode):
        if mode not in ("gptq", "awq"):
            return None
        return {
            "pre_block_layers": [self.backbone.embed],
            "sequential_blocks": self.backbone.decoder_blocks,
        }

    def _fill_cache(self, token_ids, prompt_mask, length):
        """Run the prompt through the model once; keep what will be seen."""
        batch_size, max_length = ops.shape(token_ids)
        cache = tuple(
            block.attention.empty_cache(batch_size, max_length)
            for block in self.backbone.decoder_blocks
        )
        _, hidden_states, cache = self.call_with_cache(
            token_ids, cache, 0, prompt_mask
        )
        rolled = [
            block.attention.roll_cache(block_cache, length)
            for block, block_cache in zip(
                self.backbone.decoder_blocks, cache, strict=True
            )
        ]
        return hidden_states, tuple(rolled)
