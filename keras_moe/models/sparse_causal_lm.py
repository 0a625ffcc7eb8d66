"""What all decoder-only language models share."""

import keras_hub
from keras import ops

from keras_moe.models.preset_folder import is_of_keras_hub
from keras_moe.models.published_task import PublishedTask
from keras_moe.models.published_tokenizer import preprocessor_of
from keras_moe.models.restored_task import RestoredTask
from keras_moe.models.until_stop import until_stop
from keras_moe.ops.recorder import Recorder


class SparseCausalLM(PublishedTask, RestoredTask, keras_hub.models.CausalLM):
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
        self._recorder = Recorder()

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

    def rematerialized_call(self, layer_call, *args, **kwargs):
        # The blocks rematerialize their parts; routing must not run twice.
        return layer_call

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

        token_ids = self.sampler(
            next=next,
            prompt=token_ids,
            cache=cache,
            index=first,
            mask=prompt_mask,
            stop_token_ids=stop_token_ids,
            hidden_states=hidden_states,
            model=self,
        )
        return {
            "token_ids": token_ids,
            "padding_mask": until_stop(token_ids, prompt_mask, stop_token_ids),
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
