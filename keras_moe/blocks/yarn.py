"""Rotary frequencies for more tokens than a model was trained on."""

import math
from typing import NamedTuple

import numpy as np

from keras_moe.blocks.rotary_embedding import rotary_frequencies


class Yarn(NamedTuple):
    """How YaRN stretches a model's context (https://arxiv.org/abs/2309.00071).

    Pairs of features that turn often within the trained length keep their
    frequency, those that turn less than once are slowed down, and those in
    between are mixed (section 3.2, "NTK-by-parts"). To that come two
    magnitudes that sharpen the attention over more keys (section 3.4); how
    much of it goes where is DeepSeek's addition.

    Attributes:
        scaling_factor: float s, how many times longer the context becomes.
        original_max_length: int, the trained length, in tokens.
        beta_fast: float, turns within the trained length from which on a
            frequency stays.
        beta_slow: float, turns up to which it is divided by s.
        truncate: bool, whether the bounds of the mixed pairs are whole
            numbers.
        mscale: float, of the rotated features' magnitude; 0 is the paper's.
        mscale_all_dim: float, of the softmax's scale; 0 leaves it alone.
        attention_factor: optional float, the rotated features' magnitude
            itself.
    """

    scaling_factor: float
    original_max_length: int
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    truncate: bool = True
    mscale: float = 0.0
    mscale_all_dim: float = 0.0
    attention_factor: float | None = None


def get_yarn(identifier):
    """Make a `Yarn` of its fields, or pass `None` through.

    Args:
        identifier: `None`, `Yarn` or a dict of its fields, which is how a
            configuration keeps it.

    Returns:
        `Yarn` or `None`.

    Raises:
        ValueError: If a field is unknown, missing or not positive.

    Example:

    >>> get_yarn({"scaling_factor": 40, "original_max_length": 4096}).beta_fast
    32.0
    """
    if identifier is None or isinstance(identifier, Yarn):
        return identifier
    unknown = set(identifier) - set(Yarn._fields)
    missing = {"scaling_factor", "original_max_length"} - set(identifier)
    if unknown or missing:
        raise ValueError(
            f"Expected `yarn` to have fields of {Yarn._fields}, the first two "
            f"at least. Received: yarn={identifier!r}."
        )
    yarn = Yarn(**identifier)
    for name in Yarn._fields[:4]:
        if not getattr(yarn, name) > 0:
            raise ValueError(
                f"Expected `{name}` to be positive. Received: "
                f"yarn={identifier!r}."
            )
    return yarn


def yarn_frequencies(dim, max_wavelength, yarn):
    """Return how fast each pair of features turns.

    Args:
        dim: int, even: how many features turn.
        max_wavelength: float, the published `rope_theta`.
        yarn: `Yarn`; `None` gives `rotary_frequencies`.

    Returns:
        float32 array of shape (dim / 2,), in radians per token: the
        paper's definition 2, with a ramp over the pairs' indices in place of
        their turns, as published models have it.

    Example:

    >>> yarn = Yarn(scaling_factor=4.0, original_max_length=64)
    >>> stretched = yarn_frequencies(8, 100.0, yarn)
    >>> (stretched / rotary_frequencies(8, 100.0)).round(4).tolist()
    [1.0, 0.75, 0.5, 0.25]
    """
    frequencies = rotary_frequencies(dim, max_wavelength)
    if yarn is None:
        return frequencies
    first, last = (
        _pair_that_turns(turns, dim, max_wavelength, yarn.original_max_length)
        for turns in (yarn.beta_fast, yarn.beta_slow)
    )
    if yarn.truncate:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, dim - 1)
    if first == last:
        last += 0.001
    slowed = np.clip((np.arange(dim // 2) - first) / (last - first), 0.0, 1.0)
    factors = (1.0 - slowed) + slowed / yarn.scaling_factor
    return (frequencies.astype("float64") * factors).astype("float32")


def yarn_magnitude(yarn):
    """Return what the rotated queries and keys are multiplied by.

    Args:
        yarn: `Yarn` or `None`.

    Returns:
        float; the square root of 1 / t in section 3.4 of the paper, divided
        by what goes into the softmax's scale.

    Example:

    >>> round(yarn_magnitude(Yarn(40.0, 4096)), 4)  # 0.1 ln(40) + 1
    1.3689
    >>> yarn_magnitude(Yarn(40.0, 4096, mscale=1.0, mscale_all_dim=1.0))
    1.0
    """
    if yarn is None:
        return 1.0
    if yarn.attention_factor is not None:
        return yarn.attention_factor
    if not (yarn.mscale and yarn.mscale_all_dim):
        return _magnitude(yarn.scaling_factor, 1.0)
    return _magnitude(yarn.scaling_factor, yarn.mscale) / _magnitude(
        yarn.scaling_factor, yarn.mscale_all_dim
    )


def yarn_softmax_scale(yarn):
    """Return what the scores are multiplied by, beside `1 / sqrt(D)`.

    Args:
        yarn: `Yarn` or `None`.

    Returns:
        float.

    Example:

    >>> yarn = Yarn(40.0, 4096, mscale=0.707, mscale_all_dim=0.707)
    >>> round(yarn_softmax_scale(yarn), 4)  # (0.0707 ln(40) + 1) ** 2
    1.5896
    """
    if yarn is None or not yarn.mscale_all_dim:
        return 1.0
    return _magnitude(yarn.scaling_factor, yarn.mscale_all_dim) ** 2


def _magnitude(scaling_factor, mscale):
    if scaling_factor <= 1:
        return 1.0
    return 0.1 * mscale * math.log(scaling_factor) + 1.0


def _pair_that_turns(turns, dim, max_wavelength, length):
    """Return the pair, in fractions, that turns so often within a length."""
    wavelength = length / (2 * math.pi * turns)
    return dim * math.log(wavelength) / (2 * math.log(max_wavelength))
