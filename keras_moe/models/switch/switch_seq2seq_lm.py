"""Switch Transformer language model: text to text, with cached generation."""

import keras
import keras_hub
from keras import ops

from keras_moe.models.generative_task import GenerativeTask
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

    def build_cache(self, encoder_outputs, decoder_length):
        """Create the empty decoder cache and the encoder's keys and values.

        Args:
            encoder_outputs: tensor of shape (B, Le, H).
            decoder_length: int, number of decoder positions Ld to hold.

        Returns:
            `self_attention_cache` and `cross_attention_cache`: for each
            decoder block keys and values of shape (B, Ld, N, D) and
            (B, Le, N, D).
        """
        blocks = self.backbone.decoder_transformer_layers
        cross_attention_cache = tuple(
            block.cross_attention.project_keys_values(encoder_outputs)
            for block in blocks
        )
        shape = (
            ops.shape(encoder_outputs)[0],
            decoder_length,
            self.backbone.num_heads,
            self.backbone.key_value_dim,
        )
        dtype = self.compute_dtype
        self_attention_cache = tuple(
            (ops.zeros(shape, dtype), ops.zeros(shape, dtype)) for _ in blocks
        )
        return self_attention_cache, cross_attention_cache

    def call_decoder_with_cache(
        self,
        decoder_token_ids,
        self_attention_cache,
        cross_attention_cache,
        cache_update_index,
        encoder_padding_mask,
        decoder_padding_mask=None,
    ):
        """Run the decoder on new positions, reading and writing the cache.

        Args:
            decoder_token_ids: int32 tensor of shape (B, Lq), the new tokens.
            self_attention_cache: from `build_cache` or an earlier call.
            cross_attention_cache: from `build_cache`.
            cache_update_index: int or int32 scalar, position of the first
                new token.
            encoder_padding_mask: tensor of shape (B, Le), True = real token.
            decoder_padding_mask: optional tensor of shape (B, Lq); padding is
                not routed to experts.

        Returns:
            float32 logits of shape (B, Lq, V), hidden states of shape
            (B, Lq, H) and the updated `self_attention_cache`.
        """
        x = self.backbone.token_embedding(decoder_token_ids)
        position_bias = self.backbone.decoder_position_bias(
            x, self_attention_cache[0][0], start_index=cache_update_index
        )
        updated_cache = []
        for block, cache, cross_cache in zip(
            self.backbone.decoder_transformer_layers,
            self_attention_cache,
            cross_attention_cache,
            strict=True,
        ):
            x, cache = block.call_with_cache(
                x,
                cache,
                cross_cache,
                cache_update_index,
                position_bias=position_bias,
                padding_mask=decoder_padding_mask,
                encoder_padding_mask=encoder_padding_mask,
            )
            updated_cache.append(cache)
        hidden_states = self.backbone.decoder_norm(x)
        logits = self.project_to_logits(hidden_states)
        return logits, hidden_states, tuple(updated_cache)

    def generate_step(self, inputs, stop_token_ids=None):
        """Generate for one batch; compilable.

        Args:
            inputs: dictionary of the four inputs of the model; positions that
                `decoder_padding_mask` hides are filled in.
            stop_token_ids: optional tuple of ints; generation ends when every
                row has produced one of them.

        Returns:
            Dictionary of `decoder_token_ids`, int32 of shape (B, Ld), and
            `decoder_padding_mask`, bool of shape (B, Ld), which hides what
            follows a stop token.
        """
        encoder_token_ids = ops.cast(inputs["encoder_token_ids"], "int32")
        encoder_padding_mask = ops.cast(inputs["encoder_padding_mask"], "bool")
        token_ids = ops.cast(inputs["decoder_token_ids"], "int32")
        padding_mask = ops.cast(inputs["decoder_padding_mask"], "bool")
        encoder_outputs = self.backbone.encode(
            encoder_token_ids, encoder_padding_mask
        )
        self_attention_cache, cross_attention_cache = self.build_cache(
            encoder_outputs, ops.shape(token_ids)[1]
        )
        # The whole prompt in one pass. Positions beyond a row's prompt write
        # keys that no query can see before generation has replaced them.
        _, hidden_states, self_attention_cache = self.call_decoder_with_cache(
            token_ids,
            self_attention_cache,
            cross_attention_cache,
            cache_update_index=0,
            encoder_padding_mask=encoder_padding_mask,
            decoder_padding_mask=padding_mask,
        )

        step = self._recorder.recorded(
            self.call_decoder_with_cache, self.weights, self.run_eagerly
        )

        def next(prompt, cache, index):
            self_attention_cache, cross_attention_cache, encoder_mask = cache
            last_token = ops.slice(
                prompt, [0, index - 1], [ops.shape(prompt)[0], 1]
            )
            logits, hidden_states, self_attention_cache = step(
                last_token,
                self_attention_cache,
                cross_attention_cache,
                index - 1,
                encoder_mask,
            )
            cache = (self_attention_cache, cross_attention_cache, encoder_mask)
            return logits[:, 0], hidden_states[:, 0], cache

        # All of it travels through the sampler: beam search repeats it.
        cache = (
            self_attention_cache,
            cross_attention_cache,
            encoder_padding_mask,
        )
        return self.sample(
            next, token_ids, padding_mask, cache, stop_token_ids, hidden_states
        )
