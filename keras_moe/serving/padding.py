"""Rows of several requests in one batch: pad, run, cut again.

Right padding with a mask of zeros changes nothing for a model without dropped
tokens, so requests of different lengths may share a call. Inputs without a
mask share one only if their shapes are equal.
"""

from typing import NamedTuple

import numpy as np

from keras_moe.serving.language_rules import MAX_NEW_TOKENS
from keras_moe.serving.language_rules import STOP_TOKEN_IDS
from keras_moe.serving.language_rules import mask_of
from keras_moe.serving.language_rules import padded_inputs
from keras_moe.serving.signature import Signature

# A batch is at most twice as long as any of its rows, or this long.
SHORTEST_BUCKET = 16
NO_TOKEN = -1


class Request(NamedTuple):
    """Inputs that are checked and complete.

    Attributes:
        signature: `Signature`.
        arrays: dict from input name to array.
        rows: int.
        length: int, tokens of one row, new ones included.
    """

    signature: Signature
    arrays: dict
    rows: int
    length: int

    @property
    def group(self):
        """What requests must have in common to run in one batch."""
        flexible = _flexible(self.signature)
        shapes = []
        for name, array in self.arrays.items():
            if name == STOP_TOKEN_IDS:
                continue
            sizes = array.shape[1:]
            if name in flexible:
                sizes = (_bucket(array.shape[1]),)
            shapes.append((name, sizes))
        new_tokens = self.arrays.get(MAX_NEW_TOKENS)
        steps = 0 if new_tokens is None else _bucket(int(new_tokens.max()))
        return (self.signature.name, tuple(shapes), steps)


def merge(requests):
    """Put the rows of requests of one group below each other.

    Args:
        requests: list of `Request`.

    Returns:
        dict from input name to array.
    """
    if len(requests) == 1:
        return requests[0].arrays
    flexible = _flexible(requests[0].signature)
    merged = {}
    for name in requests[0].arrays:
        parts = [request.arrays[name] for request in requests]
        if name in flexible or name == STOP_TOKEN_IDS:
            width = max(part.shape[1] for part in parts)
            fill = NO_TOKEN if name == STOP_TOKEN_IDS else 0
            parts = [
                np.pad(
                    part,
                    ((0, 0), (0, width - part.shape[1])),
                    constant_values=fill,
                )
                for part in parts
            ]
        merged[name] = np.concatenate(parts)
    return merged


def split(requests, merged, outputs):
    """Give each request its rows, as long as if it had run alone.

    Args:
        requests: list of `Request`, as for `merge`.
        merged: dict from input name to array, what `merge` made of them.
        outputs: dict from output name to array.

    Returns:
        list of dicts from output name to array.
    """
    if len(requests) == 1:
        return [outputs]
    parts, start = [], 0
    for request in requests:
        rows = slice(start, start + request.rows)
        start += request.rows
        parts.append(
            {
                name: _cut(name, array[rows], request, merged)
                for name, array in outputs.items()
            }
        )
    return parts


def _cut(name, array, request, merged):
    """Cut the second axis, if it is open and as wide as the tokens."""
    shape = request.signature.outputs[name].shape
    is_open = shape is None or len(shape) > 1 and shape[1] is None
    if is_open and array.ndim > 1:
        if array.shape[1] == _output_width(name, merged):
            return array[:, : _output_width(name, request.arrays)]
    return array


def _flexible(signature):
    """List the inputs whose second axis may be padded with zeros."""
    names = padded_inputs(signature)
    return {*names, *map(mask_of, names)}


def _output_width(name, arrays):
    """Return how wide an output over tokens is; None without tokens."""
    new_tokens = arrays.get(MAX_NEW_TOKENS)
    added = 0 if new_tokens is None else int(new_tokens.max())
    if "prompt" in arrays:
        return max(map(len, arrays["prompt"].flat)) + added
    # Outputs are about the decoder, but for those that name the encoder.
    if name.startswith("encoder_") and "encoder_token_ids" in arrays:
        return arrays["encoder_token_ids"].shape[1]
    for text in ("decoder_token_ids", "token_ids", "encoder_token_ids"):
        if text in arrays:
            return arrays[text].shape[1] + added
    return None


def _bucket(size):
    """Round up to a power of two."""
    return max(SHORTEST_BUCKET, 1 << (size - 1).bit_length())
