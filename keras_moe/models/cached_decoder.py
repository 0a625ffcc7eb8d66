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
            index: int or int32 scalar tensor, the position of these tokens,
                the same in all rows: at first the length of the shortest
                prompt. A row whose prompt is longer gets its own tokens
                again. A position for each row is not supported: every layer
                would have to write each row to a place of its own.

        Returns:
            `NextToken`: float32 logits (B, V) of the token at `index + 1`,
            the new cache and hidden states (B, H).

        Raises:
            ValueError: If there is more than one token in a row, or `index`
                is not one number.

        Example: `prefill` shows both functions at work.
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
