"""What a request must be like for its signature, as in TensorFlow Serving.

Two rules are wider: integers of any size are taken where their values fit, and
inputs with a default may be left out one by one. Two are narrower: floats must
be finite, and a batch has at least one row and no input of size 0.
"""

import numpy as np

from keras_moe.serving.errors import ServingError
from keras_moe.serving.errors import invalid

DEFAULT_SIGNATURE = "serving_default"


def find_signature(model, name):
    """Return a model's signature of a name; an empty name is the default.

    Args:
        model: `LoadedModel`.
        name: string.

    Returns:
        A `Signature`.

    Raises:
        ServingError: If there is none.
    """
    name = name or DEFAULT_SIGNATURE
    if name not in model.signatures:
        raise ServingError(
            "FAILED_PRECONDITION",
            f'Serving signature key "{name}" not found. '
            f"This model has {sorted(model.signatures)}.",
        )
    return model.signatures[name]


def complete_inputs(signature, arrays):
    """Check the inputs of a request and fill in what may be left out.

    Args:
        signature: `Signature`.
        arrays: dict from input name to array, of the client's dtypes.

    Returns:
        dict from name to array of the signature's dtypes, one for each input,
        all with the same number of rows.

    Raises:
        ServingError: If they do not fit the signature.
    """
    extra = sorted(set(arrays) - set(signature.inputs))
    missing = sorted(set(signature.required) - set(arrays))
    if extra or missing:
        raise invalid(
            f"Expected the inputs {signature.required} and optionally "
            f"{sorted(signature.defaults)} for signature "
            f"{signature.name!r}. Received: {sorted(arrays)}. "
            f"Sent extra: {extra}. Missing but required: {missing}."
        )
    checked = {
        name: check_array(name, arrays[name], info)
        for name, info in signature.inputs.items()
        if name in arrays
    }
    rows = _count_rows(signature, checked)
    complete = {}
    for name in signature.inputs:
        value = checked.get(name, signature.defaults.get(name))
        if name in signature.defaults and len(value) == 1 and rows > 1:
            value = np.repeat(value, rows, axis=0)
        if len(value) != rows:
            raise invalid(
                f"Expected {rows} rows in every input. Received: {name!r} "
                f"with {len(value)}."
            )
        complete[name] = value
    return complete


def check_array(name, array, info):
    """Check one tensor and give it the signature's dtype.

    Args:
        name: string.
        array: array.
        info: `TensorInfo`.

    Returns:
        array.

    Raises:
        ServingError: If rank, a size, the dtype or a value does not fit.
    """
    shape = info.shape
    if shape is not None and (
        len(shape) != array.ndim
        or any(
            size not in (None, given)
            for size, given in zip(shape, array.shape, strict=True)
        )
    ):
        raise invalid(
            f"Expected {name!r} of shape {_show(shape)}. Received: shape "
            f"{_show(array.shape)}. Rows come first."
        )
    if array.ndim == 0 or array.size == 0:
        raise invalid(
            f"Expected at least one row in {name!r}, and no size of 0. "
            f"Received: shape {_show(array.shape)}."
        )
    return _cast(name, array, info.dtype)


def _cast(name, array, dtype):
    """Convert values that the dtype can hold, and refuse others."""
    target = dtype.as_numpy_dtype
    kind = array.dtype.kind
    if dtype.name == "string":
        if kind == "O" and all(isinstance(x, bytes) for x in array.flat):
            return array
    elif dtype.is_bool:
        if kind == "b":
            return array
    elif dtype.is_integer:
        if kind in "iu":
            bounds = np.iinfo(target)
            # As Python's integers: NumPy would round uint64 to a float.
            low, high = int(array.min()), int(array.max())
            if low < bounds.min or high > bounds.max:
                wrong = low if low < bounds.min else high
                raise invalid(
                    f"Expected {name!r} in the range of {dtype.name}. "
                    f"Received: {wrong}."
                )
            return array.astype(target)
    elif dtype.is_floating:
        # bfloat16 and its like are of kind "V" for NumPy.
        if kind in "iufV" and array.dtype.names is None:
            with np.errstate(over="ignore"):
                converted = array.astype(target)
            if not np.isfinite(converted.astype("float64")).all():
                raise invalid(
                    f"Expected finite numbers in {name!r}. Received: NaN, "
                    f"infinity, or a number too large for {dtype.name}."
                )
            return converted
    received = "strings or mixed values" if kind == "O" else array.dtype.name
    raise invalid(
        f"Expected {name!r} of dtype {dtype.name}. Received: {received}."
    )


def _count_rows(signature, arrays):
    """Return the number of rows that the inputs agree on."""
    counted = signature.required or list(arrays)
    rows = {name: len(arrays[name]) for name in counted}
    if len(set(rows.values())) > 1:
        raise invalid(
            f"Expected inputs with equally many rows. Received: {rows}."
        )
    return max(rows.values(), default=1)


def _show(shape):
    return "(" + ", ".join("?" if x is None else str(x) for x in shape) + ")"
