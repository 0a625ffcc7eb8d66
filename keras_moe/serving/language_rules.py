"""What a request must be like for a language model.

A graph cannot refuse an id outside of its vocabulary in words, so the server
does. The names of inputs are those of `keras_moe.export`.
"""

import numpy as np

from keras_moe.serving.errors import invalid

STOP_TOKEN_IDS = "stop_token_ids"
MAX_NEW_TOKENS = "max_new_tokens"
GENERATING = ("generate", "generate_text")


def is_token_ids(name):
    """Return whether an input holds text as token ids."""
    return name.endswith("token_ids") and name != STOP_TOKEN_IDS


def mask_of(name):
    """Return the name of the padding mask of token ids."""
    return name.removesuffix("token_ids") + "padding_mask"


def padded_inputs(signature):
    """List the token ids of a signature that may be padded: with a mask."""
    return [
        name
        for name in signature.inputs
        if is_token_ids(name) and mask_of(name) in signature.inputs
    ]


def check_language(signature, arrays, description, limits):
    """Check token ids, masks and options, and count the tokens.

    Args:
        signature: `Signature`.
        arrays: dict from input name to array, complete.
        description: `Description`.
        limits: `Limits`.

    Returns:
        int, tokens of one row, padding and new tokens included.

    Raises:
        ServingError: If one of them is out of range, or there are too many
            tokens.
    """
    size = description.vocabulary_size
    length = 0
    for name in filter(is_token_ids, arrays):
        length += arrays[name].shape[-1]
        if size is not None:
            _check_range(name, arrays[name], 0, size, "the vocabulary")
    for name in padded_inputs(signature):
        mask = arrays[mask_of(name)]
        _check_mask(name, arrays[name], mask, signature.name in GENERATING)
    if signature.name in GENERATING:
        if "prompt" in arrays:
            length = max(map(len, arrays["prompt"].flat))
        length += _check_options(arrays, size, limits)
    rows = len(next(iter(arrays.values()), ()))
    if rows * length > limits.max_tokens:
        raise invalid(
            f"Expected at most {limits.max_tokens} tokens in a request, "
            f"padding and new tokens included. Received: {rows} rows of "
            f"{length}. Send fewer or shorter rows."
        )
    return length


def _check_options(arrays, vocabulary_size, limits):
    """Check the options of generation and return the most new tokens."""
    bounds = {
        MAX_NEW_TOKENS: (0, limits.max_new_tokens + 1, "the server's limit"),
        "top_k": (0, None, "its range"),
        "temperature": (0, None, "its range"),
        STOP_TOKEN_IDS: (-1, vocabulary_size, "the vocabulary"),
    }
    for name, (low, high, what) in bounds.items():
        if name in arrays:
            _check_range(name, arrays[name], low, high, what)
    top_p = arrays.get("top_p")
    if top_p is not None and not ((top_p > 0) & (top_p <= 1)).all():
        raise invalid(
            "Expected top_p above 0 and at most 1. Received: "
            f"{_first(top_p[(top_p <= 0) | (top_p > 1)])}. 1 switches it off."
        )
    return int(arrays[MAX_NEW_TOKENS].max()) if MAX_NEW_TOKENS in arrays else 0


def _check_range(name, array, low, high, what):
    wrong = array < low
    if high is not None:
        wrong |= array >= high
    if wrong.any():
        end = "or more" if high is None else f"to {high - 1}"
        raise invalid(
            f"Expected {name!r} in {what}, {low} {end}. "
            f"Received: {_first(array[wrong])}."
        )


def _check_mask(name, token_ids, mask, for_generation):
    """Refuse a mask of another shape, or one that is not of zeros and ones."""
    if mask.shape != token_ids.shape:
        raise invalid(
            f"Expected {mask_of(name)!r} of the shape of {name!r}, "
            f"{token_ids.shape}. Received: {mask.shape}."
        )
    wrong = mask[~np.isin(mask, (0, 1))]
    if wrong.size:
        raise invalid(
            f"Expected ones for tokens and zeros for padding in "
            f"{mask_of(name)!r}. Received: {_first(wrong)}."
        )
    if for_generation and not (
        (mask[:, 0] == 1).all() and (mask[:, :-1] >= mask[:, 1:]).all()
    ):
        raise invalid(
            "Expected prompts of at least one token, padded on the right. "
            f"Received: {mask_of(name)!r} with another order of ones and "
            "zeros. Move the padding behind the tokens."
        )


def _first(array):
    return array.flat[0].item()
