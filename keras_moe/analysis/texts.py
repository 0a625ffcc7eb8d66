"""Texts as windows of token ids, and the ids as something to read."""

import numpy as np

from keras_moe.export.signatures.byte_text import works_on_bytes


def encode_text(model, text, name="text"):
    """Turn a text into the token ids of a model.

    Args:
        model: task or backbone.
        text: str; or int array of shape (T,), which is taken as it is.
        name: str, for the error.

    Returns:
        int32 array of shape (T,).

    Raises:
        ValueError: If the text is empty, the model has no tokenizer, or an id
            is none of its vocabulary.

    Example:

    >>> encode_text(None, [3, 4, 5]).tolist()
    [3, 4, 5]
    """
    if isinstance(text, str):
        token_ids = np.asarray(_encode(model, text), "int32").reshape(-1)
    else:
        token_ids = np.asarray(text, "int32").reshape(-1)
    if not len(token_ids):
        raise ValueError(
            f"Expected a text of at least one token. Received: {name!r}, "
            "which is empty. Choose another text."
        )
    size = getattr(getattr(model, "backbone", model), "vocabulary_size", None)
    if size and not 0 <= token_ids.min() <= token_ids.max() < size:
        raise ValueError(
            f"Expected token ids from 0 to {size - 1}. Received: {name!r} "
            f"with ids from {token_ids.min()} to {token_ids.max()}. Use the "
            "model's own tokenizer."
        )
    return token_ids


def cut_windows(token_ids, window, max_tokens=None):
    """Cut token ids into windows, evenly spaced if not all are wanted.

    Args:
        token_ids: int array of shape (T,).
        window: int L, tokens of a window.
        max_tokens: optional int, tokens of all windows together.

    Returns:
        int32 token ids and bool mask of shape (B, L). The last window of a
        whole text is padded.

    Example:

    >>> token_ids, mask = cut_windows(np.array([1, 2, 3]), window=2)
    >>> token_ids.tolist(), mask.tolist()
    ([[1, 2], [3, 0]], [[True, True], [True, False]])
    >>> cut_windows(np.arange(100), window=2, max_tokens=6)[0].tolist()
    [[0, 1], [48, 49], [98, 99]]
    """
    token_ids = np.asarray(token_ids, "int32")
    count = -(-len(token_ids) // window)
    wanted = count if max_tokens is None else max(1, max_tokens // window)
    if wanted < count:
        # In whole windows, so that none overlap.
        starts = np.linspace(0, len(token_ids) // window - 1, wanted)
        starts = starts.astype("int64") * window
    else:
        starts = np.arange(count) * window
    places = starts[:, None] + np.arange(window)
    mask = places < len(token_ids)
    return np.where(mask, token_ids[np.where(mask, places, 0)], 0), mask


def label_tokens(model, token_ids):
    """Write token ids as text, each by itself.

    Args:
        model: task or backbone.
        token_ids: int array of shape (T,).

    Returns:
        list of str; the number itself where there is no text.

    Example:

    >>> label_tokens(None, [7])
    ['#7']
    """
    tokenizer = _tokenizer(model)
    if tokenizer is None and _has_bytes(model):
        return [_byte(int(each)) for each in token_ids]
    labels = []
    for each in map(int, token_ids):
        label = f"#{each}"
        if tokenizer is not None:
            text = tokenizer.detokenize([each])
            label = str(np.asarray(text).item()) or label
        labels.append(label)
    return labels


def _encode(model, text):
    tokenizer = _tokenizer(model)
    if tokenizer is not None:
        return np.asarray(tokenizer(text))
    if _has_bytes(model):
        return np.frombuffer(text.encode(), "uint8")
    raise ValueError(
        "Expected a model with a preprocessor, or with 256 tokens that are "
        f"bytes. Received: a {type(model).__name__} without. Give token ids "
        "in place of text."
    )


def _tokenizer(model):
    preprocessor = getattr(model, "preprocessor", None)
    return getattr(preprocessor, "tokenizer", None)


def _has_bytes(model):
    return hasattr(model, "backbone") and works_on_bytes(model)


def _byte(value):
    character = chr(value)
    return character if value < 128 else f"\\x{value:02x}"
