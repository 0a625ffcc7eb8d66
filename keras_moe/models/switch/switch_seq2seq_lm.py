"""Switch Transformer language model: text to text, with cached generation."""

import keras
import keras_hub
from keras import ops

from keras_moe.blocks.feed_forward_part import taken_by
from keras_moe.models.generative_task import GenerativeTask
from keras_moe.models.next_token import as_prompt
from keras_moe.models.next_token import check_max_length
from keras_moe.models.published_task import PublishedTask
from keras_moe.models.sparse_task import SparseTask
from keras_moe.models.switch.switch_backbone import SwitchBackbone


@keras.saving.register_keras_serializable(package="keras_moe")
class SwitchSeq2SeqLM(
    PublishedTask, GenerativeTask, SparseTask, keras_hub.models.Seq2SeqLM
):
    """Predict the next token of a sequence conditioned on another one.

    `fit()` takes the four inputs of `SwitchBackbone` and int labels of shape
    (B, Ld): the decoder's token ids shifted left by one. `generate()`
    computes the encoder and its keys and values once and keeps a cache of the
    decoder's.

    Token ids of the decoder start with the start token (0 in the published
    models), which position 0 holds even when the padding mask hides it.

    Args:
        backbone: `SwitchBackbone` with a decoder.
        preprocessor: optional preprocessor of text; `None` means that inputs
            are dictionaries of token ids and padding masks.
        **kwargs: arguments of `keras_hub.models.Seq2SeqLM`.

    Returns:
        float32 logits of shape (B, Ld, V).

    Raises:
        ValueError: If the backbone has no decoder.

    Example:

    >>> import numpy as np
    >>> backbone = SwitchBackbone(
    ...     vocabulary_size=20, num_layers=2, num_heads=2, hidden_dim=8,
    ...     intermediate_dim=16, num_experts=4,
    ... )
    >>> model = SwitchSeq2SeqLM(backbone)
    >>> model.compile(sampler="greedy")
    >>> outputs = model.generate({
    ...     "encoder_token_ids": np.array([[3, 4, 5, 1]]),
    ...     "encoder_padding_mask": np.array([[1, 1, 1, 1]]),
    ...     "decoder_token_ids": np.array([[0, 0, 0, 0, 0, 0]]),
    ...     "decoder_padding_mask": np.array([[1, 0, 0, 0, 0, 0]]),
    ... }, stop_token_ids=None)
    >>> tuple(outputs["decoder_token_ids"].shape)
    (1, 6)

    References:
        Fedus et al., 2021, https://arxiv.org/abs/2101.03961.
    """

    backbone_cls = SwitchBackbone
    prompt_prefix = "decoder_"
    context_prefixes = ("encoder_",)
    first_is_real = True

    def __init__(self, backbone, preprocessor=None, **kwargs):
        if not backbone.num_decoder_layers:
            raise ValueError(
                "Expected a backbone with a decoder. Received: "
                f"num_decoder_layers={backbone.num_decoder_layers}. Build the "
                "backbone with num_decoder_layers of at least 1."
            )
        # === Layers ===
        self.backbone = backbone
        self.preprocessor = preprocessor
        self.output_projection = None
        # Under a RematScope only attention and feed-forward are recomputed.
        with keras.RematScope(mode=None):
            if not backbone.tie_embedding_weights:
                self.output_projection = keras.layers.Dense(
                    backbone.vocabulary_size,
                    use_bias=False,
                    kernel_initializer=keras.initializers.VarianceScaling(
                        1.0, mode="fan_in", distribution="untruncated_normal"
                    ),
                    dtype="float32",
                    name="output_projection",
                )

            # === Functional model ===
            inputs = backbone.input
            hidden_states = backbone(inputs)["decoder_sequence_output"]
            outputs = self.project_to_logits(hidden_states)
        super().__init__(inputs=inputs, outputs=outputs, **kwargs)

    def project_to_logits(self, hidden_states):
        """Turn decoder outputs into scores over the vocabulary.

        Args:
            hidden_states: tensor of shape (B, L, H).

        Returns:
            float32 logits of shape (B, L, V).
        """
        if self.output_projection is not None:
            return self.output_projection(hidden_states)
        # The embeddings are H times too large for a head: T5 starts them with
        # a standard deviation of 1.
        hidden_states = hidden_states * self.backbone.hidden_dim**-0.5
        logits = self.backbone.token_embedding(hidden_states, reverse=True)
        return ops.cast(logits, "float32")

    def prefill(
        self,
        encoder_token_ids,
        decoder_token_ids,
        encoder_padding_mask=None,
        decoder_padding_mask=None,
        max_length=None,
        per_row=False,
    ):
        """Encode, read the decoder's prompts and keep what both leave.

        On PyTorch, call `prefill` and `decode` under `torch.no_grad()`.

        Args:
            encoder_token_ids: int32 tensor of shape (B, Le).
            decoder_token_ids: int32 tensor of shape (B, L), prompts padded on
                the right; position 0 is the start token.
            encoder_padding_mask: optional bool tensor of shape (B, Le), True
                = real token; `None` means all.
            decoder_padding_mask: the same of shape (B, L).
            max_length: optional int, tokens of prompt and continuation that
                the cache holds; `None` means L.
            per_row: bool, whether `decode` will be given an `index` for each
                row, from the end of its own prompt on. This cache serves
                both ways.

        Returns:
            `NextToken`: float32 logits (B, V) of what follows each row's last
            real token; the cache: for each decoder block its keys and values
            (B, max_length, N, D), the same of the encoder's outputs
            (B, Le, N, D), and the encoder's mask; and hidden states
            (B, L, H).

        Raises:
            ValueError: If `max_length` is less than L.

        Example:

        >>> import numpy as np
        >>> model = SwitchSeq2SeqLM(SwitchBackbone(
        ...     vocabulary_size=20, num_layers=2, num_heads=2, hidden_dim=8,
        ...     intermediate_dim=16, num_experts=4,
        ... ))
        >>> step = model.prefill(
        ...     np.array([[3, 4, 5, 1]]), np.array([[0]]), max_length=4
        ... )
        >>> for index in range(1, 4):
        ...     token_ids = ops.argmax(step.logits, axis=-1)[:, None]
        ...     step = model.decode(token_ids, step.cache, index)
        >>> tuple(step.logits.shape)
        (1, 20)
        """
        encoder_token_ids, encoder_padding_mask = as_prompt(
            encoder_token_ids, encoder_padding_mask
        )
        token_ids, padding_mask = as_prompt(
            decoder_token_ids, decoder_padding_mask, self.first_is_real
        )
        batch_size, length = ops.shape(token_ids)
        encoder_outputs = self.backbone.encode(
            encoder_token_ids, encoder_padding_mask
        )
        blocks = self.backbone.decoder_transformer_layers
        shape = (
            batch_size,
            check_max_length(max_length, length),
            self.backbone.num_heads,
            self.backbone.key_value_dim,
        )
        cache = (
            tuple((self._zeros(shape), self._zeros(shape)) for _ in blocks),
            tuple(
                block.cross_attention.project_keys_values(encoder_outputs)
                for block in blocks
            ),
            encoder_padding_mask,
        )
        # Positions beyond a row's prompt write keys that no query can see
        # before decoding has replaced them.
        hidden_states, cache = self._run_decoder(
            token_ids, cache, 0, padding_mask
        )
        return self._after_prompt(hidden_states, cache, padding_mask)

    def _run_decoder(self, token_ids, cache, index, padding_mask=None):
        """Run new tokens (B, L) from position `index`; extend the cache."""
        own_cache, cross_cache, encoder_padding_mask = cache
        x = self.backbone.token_embedding(token_ids)
        position_bias = self.backbone.decoder_position_bias(
            x, own_cache[0][0], start_index=index
        )
        new_cache = []
        for block, block_cache, cross in zip(
            self.backbone.decoder_transformer_layers,
            own_cache,
            cross_cache,
            strict=True,
        ):
            x, block_cache = block.call_with_cache(
                x,
                block_cache,
                cross,
                index,
                position_bias=position_bias,
                padding_mask=padding_mask,
                encoder_padding_mask=encoder_padding_mask,
                **taken_by(block, {"token_ids": token_ids}),
            )
            new_cache.append(block_cache)
        hidden_states = self.backbone.decoder_norm(x)
        # All of it travels through the sampler: beam search repeats it.
        return hidden_states, (
            tuple(new_cache),
            cross_cache,
            encoder_padding_mask,
        )

    def _zeros(self, shape):
        return ops.zeros(shape, self.compute_dtype)
