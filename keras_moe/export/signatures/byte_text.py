"""Text of models whose tokens are bytes: a token id is a byte's value."""

import keras
import numpy as np
from keras import ops

NUM_BYTES = 256


def works_on_bytes(model):
    """Tell whether a task's token ids are the bytes of a text.

    So it is taken of one without preprocessor that has 256 tokens, such as
    `keras-moe train` makes.

    Args:
        model: task.

    Returns:
        bool.
    """
    return (
        model.preprocessor is None
        and model.backbone.vocabulary_size == NUM_BYTES
    )


def bytes_of(texts):
    """Turn texts into token ids.

    Args:
        texts: str or bytes of shape (B,): a tensor on TensorFlow, where this
            can be traced, else an array or a list.

    Returns:
        Token ids and padding mask (B, L), int32 and bool. L is at least 1.

    Example:

    >>> token_ids, _ = bytes_of(["ab", "c"])
    >>> ops.convert_to_numpy(token_ids).tolist()
    [[97, 98], [99, 0]]
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        lengths = tf.strings.length(texts)
        longest = tf.maximum(tf.reduce_max(lengths), 1)
        token_ids = tf.io.decode_raw(texts, tf.uint8, fixed_length=longest)
    else:
        rows = [
            each.encode() if isinstance(each, str) else bytes(each)
            for each in np.asarray(texts, object).tolist()
        ]
        lengths = ops.convert_to_tensor([len(row) for row in rows])
        longest = max([1, *map(len, rows)])
        token_ids = np.frombuffer(
            b"".join(row.ljust(longest, b"\0") for row in rows), "uint8"
        ).reshape(-1, longest)
    mask = (
        ops.arange(longest, dtype="int32") < ops.cast(lengths, "int32")[:, None]
    )
    return ops.cast(token_ids, "int32"), mask


def text_of(token_ids, mask):
    """Turn token ids into texts.

    Args:
        token_ids: int32 tensor of shape (B, X), from 0 to 255.
        mask: bool tensor of shape (B, X), True = token of the text.

    Returns:
        bytes of shape (B,), UTF-8 or not: a tensor on TensorFlow, else an
        array of Python objects.

    Example:

    >>> import numpy as np
    >>> text = text_of(np.array([[97, 98]]), np.array([[True, False]]))
    >>> np.array(text).tolist()
    [b'a']
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        symbols = tf.constant([bytes([each]) for each in range(NUM_BYTES)])
        symbols = tf.where(mask, tf.gather(symbols, token_ids), b"")
        return tf.strings.reduce_join(symbols, axis=-1)
    token_ids = ops.convert_to_numpy(token_ids).astype("uint8")
    mask = ops.convert_to_numpy(mask)
    texts = np.empty(len(token_ids), object)
    for row, symbols in enumerate(token_ids):
        texts[row] = symbols[mask[row]].tobytes()
    return texts
