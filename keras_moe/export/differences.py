"""Numbers for how far two answers are from each other."""

import numpy as np


def largest_difference(served, expected):
    """Return how far an output is from the expected one.

    Args:
        served: array.
        expected: array of the same shape.

    Returns:
        float: the largest absolute difference, `inf` for NaN against a
        number; of whole numbers and text, the share of elements that differ.

    Example:

    >>> largest_difference(np.array([1, 2]), np.array([1, 3]))
    0.5
    """
    if served.size == 0:
        return 0.0
    if not is_float(served):
        return float(np.mean(served != expected))
    return float(absolute_differences(served, expected).max())


def absolute_differences(served, expected):
    """Return the absolute difference of every element.

    Args:
        served: float array.
        expected: float array of the same shape.

    Returns:
        float64 array. NaN and infinity agree with themselves alone, and
        differ by infinity from everything else.
    """
    served = served.astype("float64")
    expected = expected.astype("float64")
    same = (served == expected) | (np.isnan(served) & np.isnan(expected))
    with np.errstate(invalid="ignore"):
        difference = np.where(same, 0.0, np.abs(served - expected))
    return np.nan_to_num(difference, nan=np.inf, posinf=np.inf)


def is_float(array):
    """Tell whether an array holds real numbers, bfloat16 included.

    Args:
        array: NumPy array.

    Returns:
        bool.
    """
    # NumPy files bfloat16 under "V", as it is not one of its own.
    return array.dtype.kind in "fV"


def mean_divergence(model, answers):
    """Compare the distributions that logits over a vocabulary stand for.

    Args:
        model: a `keras.Model`.
        answers: list of `keras_moe.export.answers.Answer`.

    Returns:
        float, the mean over all real tokens of the Kullback-Leibler
        divergence KL(model || SavedModel) in nats; `None` for a model without
        such logits.

    References:
        Kullback and Leibler, 1951, https://doi.org/10.1214/aoms/1177729694.
    """
    backbone = getattr(model, "backbone", None)
    size = getattr(backbone, "vocabulary_size", None)
    divergences = []
    for answer in answers:
        if answer.signature != "serving_default":
            continue
        for name, served in answer.served.items():
            if served.ndim == 3 and served.shape[-1] == size:
                expected = answer.expected[name]
                each = _divergence(expected, served)
                divergences.extend(each[_real_tokens(answer, each.shape)])
    return float(np.mean(divergences)) if divergences else None


def _divergence(expected, served):
    """Return KL(expected || served) of logits (B, L, V), of shape (B, L)."""
    log_p, log_q = _log_softmax(expected), _log_softmax(served)
    return np.sum(np.exp(log_p) * (log_p - log_q), axis=-1)


def _log_softmax(logits):
    logits = logits.astype("float64")
    logits = logits - logits.max(axis=-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def _real_tokens(answer, shape):
    """Return the padding mask of the tokens that logits are of."""
    for name in ("decoder_padding_mask", "padding_mask"):
        if name in answer.inputs:
            return answer.inputs[name].astype(bool)
    return np.ones(shape, bool)
