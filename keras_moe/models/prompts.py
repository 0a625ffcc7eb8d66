"""Prompts before and after generation: plain NumPy, before anything compiles.

Which tokens belong to a prompt is known by its mask alone. What stands in the
padding is never looked at.
"""

import numpy as np
from keras import ops


class Prompts:
    """A batch of prompts, moved so that each begins at position 0.

    Args:
        token_ids: int array of shape (B, X), prompts padded to the length to
            be filled, on the right, the left or both sides.
        padding_mask: bool array of shape (B, X), True = token of the prompt.
        vocabulary_size: int V.
        name: of `token_ids`, for errors.
        first_is_real: bool, whether position 0 belongs to the prompt whatever
            the mask says: a start token that looks like padding.

    Attributes:
        token_ids: int32 array of shape (B, X), prompts from position 0 on.
        padding_mask: bool array of shape (B, X), the same for the mask.

    Raises:
        ValueError: If a prompt is empty or has a hole, or a token id is not
            in the vocabulary.

    Example:

    >>> import numpy as np
    >>> mask = np.array([[False, True, True, False]])
    >>> prompts = Prompts(np.array([[0, 5, 6, 0]]), mask, vocabulary_size=9)
    >>> prompts.token_ids.tolist()
    [[5, 6, 0, 0]]
    >>> generated = np.array([[5, 6, 7, 8]]), np.ones((1, 4), bool)
    >>> [each.tolist() for each in prompts.put_back(*generated)]
    [[[0, 5, 6, 7]], [[False, True, True, True]]]
    """

    def __init__(
        self,
        token_ids,
        padding_mask,
        vocabulary_size,
        name="token_ids",
        first_is_real=False,
    ):
        token_ids, padding_mask = to_arrays(token_ids, padding_mask, name)
        if first_is_real and padding_mask.size:
            padding_mask = padding_mask.copy()
            padding_mask[:, 0] = True
        _check_whole(padding_mask, name)
        check_token_ids(token_ids, vocabulary_size, padding_mask, name)
        self._given = token_ids
        self._left = padding_mask.argmax(axis=1)
        known = _known(token_ids, vocabulary_size)
        self.token_ids = _roll(known, self._left)
        self.padding_mask = _roll(padding_mask, self._left)

    def put_back(self, token_ids, padding_mask):
        """Move generated sequences to where their prompts were.

        Args:
            token_ids: int array of shape (B, X), from position 0 on.
            padding_mask: bool array of shape (B, X).

        Returns:
            The two arrays, with the padding on the left as it was given.
        """
        token_ids = _roll(token_ids, -self._left)
        padding_mask = _roll(padding_mask, -self._left)
        before = np.arange(token_ids.shape[1]) < self._left[:, None]
        return (
            np.where(before, self._given, token_ids).astype("int32"),
            padding_mask & ~before,
        )

    def strip(self, token_ids, padding_mask):
        """Move generated sequences to position 0, without their prompts.

        Args:
            token_ids: int array of shape (B, X), from position 0 on.
            padding_mask: bool array of shape (B, X).

        Returns:
            The two arrays; the mask is True for what was generated.
        """
        lengths = self.padding_mask.sum(axis=1)
        room = np.arange(token_ids.shape[1]) < (
            token_ids.shape[1] - self._left[:, None]
        )
        generated = padding_mask & room & ~self.padding_mask
        return _roll(token_ids, lengths), _roll(generated, lengths)


def to_arrays(token_ids, padding_mask, name="token_ids"):
    """Return token ids and their mask as int32 and bool arrays.

    Args:
        token_ids: ints of shape (B, X), an array, a tensor or lists.
        padding_mask: bools or numbers of the same shape.
        name: of `token_ids`, for errors.

    Returns:
        NumPy arrays, int32 and bool.

    Raises:
        ValueError: If the shapes differ or are not (B, X).
    """
    token_ids, padding_mask = _numpy(token_ids), _numpy(padding_mask)
    if token_ids.ndim != 2 or token_ids.shape != padding_mask.shape:
        raise ValueError(
            f"Expected `{name}` and its padding mask of one shape (B, L). "
            f"Received: shapes {token_ids.shape} and {padding_mask.shape}. "
            "Add the dimension of the batch, and pad all rows to one length."
        )
    return token_ids.astype("int32"), padding_mask.astype("bool")


def check_token_ids(
    token_ids, vocabulary_size, padding_mask=None, name="token_ids"
):
    """Raise if a token is not in the vocabulary.

    Args:
        token_ids: int array of shape (B, X).
        vocabulary_size: int V.
        padding_mask: optional bool array of shape (B, X); what it hides is
            not checked.
        name: of `token_ids`, for errors.

    Raises:
        ValueError: Names the row, the position and the token id.
    """
    outside = (token_ids < 0) | (token_ids >= vocabulary_size)
    if padding_mask is not None:
        outside &= padding_mask
    if outside.any():
        row, position = np.argwhere(outside)[0]
        raise ValueError(
            f"Expected `{name}` from 0 to {vocabulary_size - 1}, the "
            f"vocabulary of {vocabulary_size} tokens. Received: token id "
            f"{token_ids[row, position]} in row {row}, position {position}. "
            "Use the tokenizer that belongs to the model."
        )


def check_if_known(token_ids, padding_mask, vocabulary_size):
    """Check token ids, unless a compiler is tracing them.

    Args:
        token_ids: ints of shape (B, X), an array or a tensor.
        padding_mask: bools or numbers of the same shape.
        vocabulary_size: int V.

    Raises:
        ValueError: As for `to_arrays` and `check_token_ids`.
    """
    try:
        values = [_numpy(each) for each in (token_ids, padding_mask)]
    except Exception:  # Each backend has its own, for tensors without values.
        return
    token_ids, padding_mask = to_arrays(*values)
    check_token_ids(token_ids, vocabulary_size, padding_mask)


def check_not_empty(padding_mask, name="token_ids"):
    """Raise if a row has no token.

    Args:
        padding_mask: bool array of shape (B, X).
        name: of the token ids, for errors.

    Raises:
        ValueError: Names the first empty row.
    """
    empty = ~padding_mask.any(axis=1)
    if empty.any():
        raise ValueError(
            f"Expected at least one token in every row of `{name}`. Received: "
            f"row {empty.argmax()}, whose padding mask is False everywhere. "
            "Begin every prompt with a start token, or leave the row out."
        )


def check_context(inputs, prefix, vocabulary_size):
    """Check inputs that are read and not continued.

    Args:
        inputs: dict of token ids and padding masks of shape (B, L).
        prefix: str, what the two keys begin with.
        vocabulary_size: int V.

    Returns:
        dict of the two as NumPy arrays.

    Raises:
        ValueError: If a row is empty or a token id not in the vocabulary.
    """
    ids, mask = f"{prefix}token_ids", f"{prefix}padding_mask"
    token_ids, padding_mask = to_arrays(inputs[ids], inputs[mask], ids)
    check_not_empty(padding_mask, ids)
    check_token_ids(token_ids, vocabulary_size, padding_mask, ids)
    return {ids: _known(token_ids, vocabulary_size), mask: padding_mask}


def _known(token_ids, vocabulary_size):
    known = (token_ids >= 0) & (token_ids < vocabulary_size)
    return np.where(known, token_ids, 0).astype("int32")


def _check_whole(padding_mask, name):
    check_not_empty(padding_mask, name)
    ends = padding_mask[:, :-1] & ~padding_mask[:, 1:]
    ends = ends.sum(axis=1) + padding_mask[:, -1]
    if (ends > 1).any():
        row = (ends > 1).argmax()
        raise ValueError(
            f"Expected padding of `{name}` before and after a prompt only. "
            f"Received: row {row}, padding_mask="
            f"{padding_mask[row].astype(int).tolist()}. Move its tokens "
            "together."
        )


def _roll(array, places):
    """Move each row to the left by its number of places."""
    positions = np.arange(array.shape[1]) + np.asarray(places)[:, None]
    return np.take_along_axis(array, positions % array.shape[1], axis=1)


def _numpy(values):
    return (
        ops.convert_to_numpy(values)
        if ops.is_tensor(values)
        else (np.asarray(values))
    )
