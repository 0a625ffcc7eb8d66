"""Arrays from nested lists of JSON, and back."""

import base64
import binascii

import numpy as np

from keras_moe.serving.errors import invalid

BASE64 = "b64"


def to_array(name, value):
    """Make an array of nested lists; strings become bytes.

    Args:
        name: string, for errors.
        value: what JSON gave.

    Returns:
        array of ints, floats, bools or `bytes` objects.

    Raises:
        ServingError: If the lists are ragged or hold other things.
    """
    leaf = value
    while isinstance(leaf, list) and leaf:
        leaf = leaf[0]
    try:
        if isinstance(leaf, str | dict):
            return _bytes_array(value)
        array = np.array(value)
    except (ValueError, TypeError, OverflowError, RecursionError):
        array = np.array(None)
    if array.dtype.kind not in "iufb":
        raise invalid(
            f"Expected {name!r} to be numbers, strings or lists of them, all "
            "rows equally long. Received: something else. Pad shorter rows."
        )
    return array


def to_list(array):
    """Make nested lists of an array; bytes become text.

    Bytes that are not UTF-8, as a model may generate, get marks.
    """
    if array.dtype.kind == "O":
        return _decode(array.tolist())
    if array.dtype.kind == "V":
        array = array.astype("float32")
    return array.tolist()


def _decode(value):
    if isinstance(value, list):
        return [_decode(each) for each in value]
    return value.decode("utf-8", "replace")


def _bytes_array(value):
    """Make an array of `bytes` objects of the same shape."""
    shape, level = [], value
    while isinstance(level, list):
        shape.append(len(level))
        level = level[0]
    leaves: list = []
    _collect(value, shape, leaves)
    array = np.empty(len(leaves), dtype=object)
    array[:] = leaves
    return array.reshape(shape)


def _collect(value, shape, leaves):
    if not shape:
        leaves.append(_to_bytes(value))
        return
    if not isinstance(value, list) or len(value) != shape[0]:
        raise ValueError("ragged")
    for each in value:
        _collect(each, shape[1:], leaves)


def _to_bytes(value):
    if isinstance(value, str):
        try:
            return value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise invalid(
                "Expected strings to be Unicode text. Received: a lone "
                f"surrogate at position {error.start}. Send bytes as "
                '{"b64": "..."}.'
            ) from error
    if isinstance(value, dict) and set(value) == {BASE64}:
        try:
            return base64.b64decode(value[BASE64], validate=True)
        except (binascii.Error, TypeError, ValueError) as error:
            raise invalid(
                f'Expected {{"b64": ...}} to hold base64. Received: {error}.'
            ) from error
    raise TypeError("neither a string nor an object of bytes")
