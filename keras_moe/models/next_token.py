"""What `prefill` and `decode` take and return, whatever the model."""

from typing import Any
from typing import NamedTuple

import keras
from keras import ops


class NextToken(NamedTuple):
    """What a model knows before the next token is chosen.

    Attributes:
        logits: float32 tensor of shape (B, V), scores of the next token.
        cache: nested tuples of tensors, batch first; what `decode` takes.
        hidden_states: tensor, the decoder's outputs after the final norm:
            (B, L, H) of the whole prompt from `prefill`, (B, H) of the one
            token from `decode`.
    """

    logits: Any
    cache: Any
    hidden_states: Any


def as_prompt(token_ids, padding_mask, first_is_real=False):
    """Return prompts and their masks as tensors.

    Args:
        token_ids: ints of shape (B, L).
        padding_mask: bools or numbers of the same shape; `None` means that
            all tokens are real.
        first_is_real: bool, whether position 0 is real whatever the mask says.

    Returns:
        Tensors of shape (B, L), int32 and bool.
    """
    token_ids = ops.cast(token_ids, "int32")
    if padding_mask is None:
        return token_ids, ops.ones_like(token_ids, dtype="bool")
    padding_mask = ops.cast(padding_mask, "bool")
    if first_is_real:
        is_first = ops.arange(ops.shape(token_ids)[1]) == 0
        padding_mask = ops.logical_or(padding_mask, is_first)
    return token_ids, padding_mask


def prompt_lengths(padding_mask):
    """Count the tokens of each prompt.

    Args:
        padding_mask: bool tensor of shape (B, L), True = real token.

    Returns:
        int32 tensor of shape (B,).
    """
    return ops.sum(ops.cast(padding_mask, "int32"), axis=-1)


def last_token(hidden_states, padding_mask):
    """Pick the last real token of each row that is padded on the right.

    Args:
        hidden_states: tensor of shape (B, L, H).
        padding_mask: bool tensor of shape (B, L), True = real token.

    Returns:
        Tensor of shape (B, 1, H).

    Example:

    >>> import numpy as np
    >>> states = np.array([[[1.0], [2.0], [3.0]]])
    >>> np.array(last_token(states, np.array([[True, True, False]]))).tolist()
    [[[2.0]]]
    """
    last = ops.maximum(prompt_lengths(padding_mask) - 1, 0)
    return ops.take_along_axis(hidden_states, last[:, None, None], axis=1)


def check_max_length(max_length, length):
    """Return the number of positions that a cache holds.

    Args:
        max_length: int, or `None` for the length of the prompts.
        length: int or scalar tensor L, of the prompts with their padding.

    Returns:
        int, or the scalar tensor.

    Raises:
        ValueError: If the prompts are longer.
    """
    if max_length is None:
        return length
    if ops.is_tensor(length) or ops.is_tensor(max_length):  # Open in a graph.
        return max_length
    if max_length < length:
        raise ValueError(
            f"Expected `max_length` of at least {length}, the length of the "
            f"prompts with their padding. Received: max_length={max_length}. "
            "It counts prompt and continuation."
        )
    return max_length


def as_step(token_ids, index):
    """Check one step's tokens and return them and their position as tensors.

    Args:
        token_ids: ints of shape (B, 1).
        index: int or scalar tensor, or ints of shape (B,).

    Returns:
        int32 tensors, of shape (B, 1) and of shape () or (B,).

    Raises:
        ValueError: If there is more than one token in a row, or neither one
            index nor one for each row.
    """
    token_ids = ops.convert_to_tensor(token_ids, dtype="int32")
    index = ops.convert_to_tensor(index, dtype="int32")
    if len(token_ids.shape) != 2 or token_ids.shape[1] != 1:
        raise ValueError(
            "Expected `token_ids` of shape (B, 1). Received: shape "
            f"{tuple(token_ids.shape)}. Use `prefill` for a whole prompt, "
            "then one call of `decode` for each token."
        )
    sizes = {token_ids.shape[0], *index.shape} - {None}  # Open in a graph.
    if len(index.shape) > 1 or (len(index.shape) and len(sizes) > 1):
        raise ValueError(
            "Expected `index` to be one number for all rows or one for each "
            f"row. Received: shape {tuple(index.shape)} for `token_ids` of "
            f"shape {tuple(token_ids.shape)}. Pass the position of each token."
        )
    return token_ids, index


def widen_cache(cache, empty):
    """Copy a cache into one with room for more positions.

    Args:
        cache: nested tuples of tensors.
        empty: the same of tensors that are at least as large.

    Returns:
        Nested tuples of tensors of the shapes of `empty`.
    """
    return keras.tree.map_structure(
        lambda wide, each: ops.slice_update(wide, (0,) * len(wide.shape), each),
        empty,
        cache,
    )
