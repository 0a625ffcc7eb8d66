"""What all decoder-only language models share."""

import keras
import keras_hub
from keras import ops

from keras_moe.blocks.feed_forward_part import taken_by
from keras_moe.models.family_docstrings import task_docstring
from keras_moe.models.generative_task import GenerativeTask
from keras_moe.models.next_token import as_prompt
from keras_moe.models.next_token import check_max_length
from keras_moe.models.next_token import prompt_lengths
from keras_moe.models.next_token import widen_cache
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

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if "backbone_cls" in vars(cls) and cls.__doc__:
            cls.__doc__ = task_docstring(cls, cls.__doc__)

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
    def published_preprocessor(cls, folder):
        if folder.is_of_keras_hub:
            path = str(folder.path)
            return keras_hub.models.CausalLMPreprocessor.from_preset(path)
        return preprocessor_of(folder)

    def prefill(
        self, token_ids, padding_mask=None, max_length=None, per_row=False
    ):
        """Read prompts once and keep what the next tokens will look at.

        The cache serves steps that go on together from the end of the
        shortest prompt; rows with a longer one get their own tokens again.
        With `per_row` it serves rows that go on from their own prompt's end.
        On PyTorch, call `prefill` and `decode` under `torch.no_grad()`.

        Args:
            token_ids: int32 tensor of shape (B, L), prompts padded on the
                right.
            padding_mask: optional bool tensor of shape (B, L), True = real
                token; `None` means all.
            max_length: optional int, tokens of prompt and continuation that
                the cache holds; `None` means L. A sliding window holds no
                more than itself.
            per_row: bool, whether `decode` will be given an `index` for each
                row, from the end of its own prompt on.

        Returns:
            `NextToken`: float32 logits (B, V) of what follows each row's last
            real token, the cache (one attention's for each layer) and hidden
            states (B, L, H).

        Raises:
            ValueError: If `max_length` is less than L.

        Example:

        >>> import numpy as np
        >>> from keras_moe.models import MixtralBackbone, MixtralCausalLM
        >>> model = MixtralCausalLM(MixtralBackbone(
        ...     vocabulary_size=20, num_layers=1, num_query_heads=2,
        ...     num_key_value_heads=1, hidden_dim=8, intermediate_dim=8,
        ...     num_experts=2,
        ... ))
        >>> step = model.prefill(np.array([[3, 4, 5]]), max_length=6)
        >>> for index in range(3, 6):
        ...     token_ids = keras.ops.argmax(step.logits, axis=-1)[:, None]
        ...     step = model.decode(token_ids, step.cache, index)
        >>> tuple(step.logits.shape)
        (1, 20)
        """
        token_ids, padding_mask = as_prompt(
            token_ids, padding_mask, self.first_is_real
        )
        batch_size, length = ops.shape(token_ids)
        cached_length = check_max_length(max_length, length)
        attentions = [each.attention for each in self.backbone.decoder_blocks]

        def empty(length):
            return tuple(
                each.empty_cache(batch_size, length) for each in attentions
            )

        hidden_states, cache = self._run_decoder(
            token_ids, empty(length), 0, padding_mask
        )
        if max_length is not None:
            cache = widen_cache(cache, empty(cached_length))
        start = prompt_lengths(padding_mask)
        if not per_row:
            start = ops.min(start)
        cache = tuple(
            attention.roll_cache(each, start)
            for attention, each in zip(attentions, cache, strict=True)
        )
        return self._after_prompt(hidden_states, cache, padding_mask)

    def project_to_logits(self, hidden_states):
        """Score every token of the vocabulary.

        Args:
            hidden_states: tensor of shape (B, L, H), after the final norm.

        Returns:
            float32 logits of shape (B, L, V).
        """
        return self.backbone.logits(hidden_states)

    def _run_decoder(self, token_ids, cache, index, padding_mask=None):
        """Run new tokens (B, L) from position `index`; extend the cache."""
        x = self.backbone.embed(token_ids)
        new_cache = []
        for block, block_cache in zip(
            self.backbone.decoder_blocks, cache, strict=True
        ):
            x, block_cache = block(
                x,
                padding_mask=padding_mask,
                cache=block_cache,
                cache_update_index=index,
                **taken_by(block, {"token_ids": token_ids}),
            )
            new_cache.append(block_cache)
        return self.backbone.final_norm(x), tuple(new_cache)

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
