"""One prompt, a batch of them or a dataset: what `generate` takes and gives."""

from typing import Any

import numpy as np


def as_batches(inputs, has_preprocessor):
    """Take inputs of `generate` apart into batches.

    Args:
        inputs: str, list of str, string tensor, dict of them or of arrays, or
            `tf.data.Dataset` of batches.
        has_preprocessor: bool; without one, inputs are a batch already.

    Returns:
        Iterable of batches, and whether the inputs are one prompt without a
        batch dimension.

    Example:

    >>> as_batches("a prompt", has_preprocessor=True)
    ([['a prompt']], True)
    """
    if hasattr(inputs, "as_numpy_iterator"):  # A `tf.data.Dataset`.
        return inputs.as_numpy_iterator(), False
    if not has_preprocessor:
        return [inputs], False
    if not isinstance(inputs, dict):
        return [_with_batch(inputs)], _is_single(inputs)
    batch = {name: _with_batch(each) for name, each in inputs.items()}
    return [batch], any(map(_is_single, inputs.values()))


def join_batches(outputs, is_single):
    """Join what was generated for each batch.

    Args:
        outputs: list of lists of str, of arrays or of dicts of either.
        is_single: bool, as from `as_batches`.

    Returns:
        list of str, array, or dict of either; without the batch dimension for
        a single prompt.

    Example:

    >>> join_batches([["one", "two"], ["three"]], is_single=False)
    ['one', 'two', 'three']
    """
    if isinstance(outputs[0], dict):
        return {
            name: join_batches([each[name] for each in outputs], is_single)
            for name in outputs[0]
        }
    joined: Any
    if isinstance(outputs[0], list):
        joined = [text for each in outputs for text in each]
    else:
        joined = np.concatenate(outputs, axis=0)
    return joined[0] if is_single else joined


def _is_single(text):
    return isinstance(text, str) or getattr(text, "shape", None) == ()


def _with_batch(text):
    if isinstance(text, str):
        return [text]
    return text[None] if _is_single(text) else text
