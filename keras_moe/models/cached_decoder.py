"""The step that every task which generates repeats."""

from keras import ops

from keras_moe.models.next_token import NextToken
from keras_moe.models.next_token import as_step
from keras_moe.models.next_token import last_token


class CachedDecoder:
    """Adds tokens one by one to prompts that are read once.

    Samplers, exports and loops of your own use two functions: `prefill` of
    the model's inputs, and `decode`. Not used by itself: a task has
    `prefill`, `project_to_logits` and `_run_decoder(token_ids, cache, index,
    padding_mask=None)`, which returns hidden states (B, L, H) after the final
    norm and the new cache.
    """

    def decode(self, token_ids, cache, index):
        """Add one token to each row.

        Args:
            token_ids: int32 tensor of shape (B, 1).
            cache: from `prefill` or the step before. It is given up: go on
                with the one returned.
            index: int or int32 scalar tensor, the position of these tokens in
                all rows: at first the length of the shortest prompt. A row
                whose prompt is longer gets its own tokens again. Or int32 of
                shape (B,), each row's own position: at first the length of
                its prompt, and the cache is one of
                `prefill(..., per_row=True)`. What a row is given past the end
                of the cache gives it meaningless logits and leaves the other
                rows alone.

        Returns:
            `NextToken`: float32 logits (B, V) of the token at `index + 1`,
            the new cache and hidden states (B, H).

        Raises:
            ValueError: If there is more than one token in a row, or `index`
                has another shape.

        Example: `prefill` shows steps that go on together. Each row from the
        end of its own prompt:

        >>> import numpy as np
        >>> from keras_moe.models import MixtralBackbone, MixtralCausalLM
        >>> model = MixtralCausalLM(MixtralBackbone(
        ...     vocabulary_size=20, num_layers=1, num_query_heads=2,
        ...     num_key_value_heads=1, hidden_dim=8, intermediate_dim=8,
        ...     num_experts=2,
        ... ))
        >>> token_ids = np.array([[3, 0, 0], [4, 5, 6]])
        >>> mask = np.array([[1, 0, 0], [1, 1, 1]])
        >>> step = model.prefill(token_ids, mask, max_length=5, per_row=True)
        >>> for new in range(2):
        ...     token_ids = ops.argmax(step.logits, axis=-1)[:, None]
        ...     index = mask.sum(axis=1) + new
        ...     step = model.decode(token_ids, step.cache, index)
        >>> tuple(step.logits.shape)
        (2, 20)
        """
        token_ids, index = as_step(token_ids, index)
        hidden_states, cache = self._run_decoder(token_ids, cache, index)
        return NextToken(
            ops.squeeze(self.project_to_logits(hidden_states), axis=1),
            cache,
            ops.squeeze(hidden_states, axis=1),
        )

    def _after_prompt(self, hidden_states, cache, padding_mask):
        last = last_token(hidden_states, padding_mask)
        logits = ops.squeeze(self.project_to_logits(last), axis=1)
        return NextToken(logits, cache, hidden_states)
