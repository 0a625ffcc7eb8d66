"""Tensors that repeat what is known: compared, then left out."""

import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from keras_moe.blocks.rotary_embedding import rotary_frequencies

# Published frequencies went through bfloat16 at times, which has 8 bits.
FREQUENCY_TOLERANCE = 1e-3
CHUNK = 2**22  # Numbers that are compared at once.


class Redundant(NamedTuple):
    """Tensors that a model has no variable for.

    Attributes:
        pattern: regular expression of their whole names.
        repeats: `repeats(array, folder, model)` tells whether a tensor says
            what is known anyway.
        what: str, what that is, for the message.
    """

    pattern: str
    repeats: Callable
    what: str


def copy_of(pattern, original) -> Redundant:
    """Say that tensors are copies of another one.

    Args:
        pattern: regular expression of their whole names.
        original: name of the other tensor.

    Returns:
        `Redundant`.

    Example:

    >>> copy_of(r"lm_head\\.weight", "shared.weight").what
    'the numbers of shared.weight'
    """

    def repeats(array, folder, model):
        return same_numbers(array, folder.read(original))

    return Redundant(pattern, repeats, f"the numbers of {original}")


def tied_head(rules) -> tuple[str, Redundant] | None:
    """Say that a head is a copy of the embedding, where models may tie them.

    Args:
        rules: tuple of `keras_moe.checkpoints.Rule`.

    Returns:
        Name of the head's tensor and `Redundant`; `None` if the rules know
        no tensor of a tied head.
    """
    names = {each.ours: each.sources[0].names[0] for each in rules}
    spare = {each.ours for each in rules if each.spare}
    head = ("token_embedding.reverse_embeddings",)
    if head not in spare:
        return None
    embedding = names[("token_embedding.embeddings",)]
    return names[head], copy_of(re.escape(names[head]), embedding)


def same_numbers(first, second):
    """Compare two tensors of a file, piece by piece.

    Args:
        first: array of any float dtype.
        second: array of any float dtype.

    Returns:
        bool; a NaN equals a NaN.

    Example:

    >>> same_numbers(np.ones((2, 3)), np.ones((2, 3), "float16"))
    True
    """
    if first.shape != second.shape:
        return False
    first, second = first.reshape(-1), second.reshape(-1)
    return all(
        np.array_equal(
            first[start : start + CHUNK].astype("float32"),
            second[start : start + CHUNK].astype("float32"),
            equal_nan=True,
        )
        for start in range(0, first.size, CHUNK)
    )


def check_redundant(model, folder, redundant, names):
    """Raise if a tensor says something else than what is known.

    Args:
        model: backbone.
        folder: `CheckpointFolder`.
        redundant: tuple of `Redundant`.
        names: list of str, tensors that no variable takes.

    Raises:
        ValueError: If one does.
    """
    for name in names:
        for each in redundant:
            if not re.fullmatch(each.pattern, name):
                continue
            if not each.repeats(folder.read(name), folder, model):
                raise ValueError(
                    f"Expected {name} to repeat {each.what}. Received: other "
                    f"numbers in {folder.path}. Remove the tensor if the "
                    "model shall do without it, or correct config.json."
                )


def _repeats_frequencies(array, folder, model):
    if not hasattr(model, "decoder_blocks"):  # No layer of it turns.
        return False
    attention = model.decoder_blocks[0].attention
    turning = attention.rotary_frequencies
    if array.shape != turning.shape:
        return False
    # Where a context is stretched, some code stores them unstretched.
    plain = rotary_frequencies(2 * array.size, attention.rope_max_wavelength)
    return any(
        np.allclose(array.astype("float32"), known, FREQUENCY_TOLERANCE, 0)
        for known in (turning, plain)
    )


def _is_a_causal_mask(array, folder, model):
    length = array.shape[-1] if array.ndim > 1 else 0
    return array.size == length**2 and np.array_equal(
        array.reshape(length, length).astype(bool),
        np.tril(np.ones((length, length), bool)),
    )


def _counts(array, folder, model):
    return np.array_equal(array.reshape(-1), np.arange(array.size))


def _is_one_number(array, folder, model):
    return array.size == 1


# Buffers that older versions of transformers and other code stored.
BUFFERS = (
    Redundant(
        r"(.*\.)?rotary_emb\.inv_freq",
        _repeats_frequencies,
        "the rotary frequencies that config.json says",
    ),
    Redundant(
        r"(.*\.)?(attn|attention|self_attn)\.bias",
        _is_a_causal_mask,
        "that no token sees later ones",
    ),
    Redundant(
        r"(.*\.)?(attn|attention|self_attn)\.masked_bias",
        _is_one_number,
        "how hidden tokens are masked",
    ),
    Redundant(r"(.*\.)?position_ids", _counts, "that positions are counted"),
)
