"""Which dtype a result has: Keras' rules, and where they lose something.

`keras.backend.result_type` and `keras.ops.matmul` turn float64 into float32
on JAX and PyTorch, and a plain int beside an int32 tensor makes a float32 one
on JAX when the floatx is bfloat16.
"""

from keras import backend
from keras import ops


def result_dtype(*dtypes):
    """Return the dtype in which numbers of several dtypes meet.

    Args:
        *dtypes: float dtypes or their names.

    Returns:
        The name of the dtype.

    Example:

    >>> result_dtype("float32", "float64"), result_dtype("float16", "float32")
    ('float64', 'float32')
    """
    names = [backend.standardize_dtype(dtype) for dtype in dtypes]
    return "float64" if "float64" in names else backend.result_type(*names)


def widen(tensor):
    """Cast half precision to float32; wider dtypes stay as they are.

    Args:
        tensor: float tensor of any shape.

    Returns:
        float32 tensor, or float64 if `tensor` is.

    Example:

    >>> import keras
    >>> wide = widen(ops.ones((2,), "bfloat16"))
    >>> keras.backend.standardize_dtype(wide.dtype)
    'float32'
    """
    return ops.cast(tensor, result_dtype(tensor.dtype, "float32"))


def int32(number):
    """Return an integer as a tensor that keeps int32 tensors int32.

    Args:
        number: int or integer tensor.

    Returns:
        int32 tensor of the same shape.

    Example:

    >>> import keras
    >>> keras.backend.standardize_dtype(int32(3).dtype)
    'int32'
    """
    return ops.cast(number, "int32")
