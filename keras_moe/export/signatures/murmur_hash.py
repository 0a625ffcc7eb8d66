"""Random numbers of a seed and a position, the same bits on every backend.

A generator without state: a number is a hash of what it is for. So it does not
depend on which numbers were drawn before, or for which other rows.
"""

import numpy as np
from keras import ops


def murmur_hash(key, seed):
    """Hash a number with another one: MurmurHash3_x86_32 of four bytes.

    Arithmetic on int32 wraps around on all backends, and has the bits of that
    on uint32, which PyTorch lacks. Only a shift to the right differs: it
    copies the sign, which is masked out.

    Args:
        key: int32 tensor, hashed as its four bytes, the lowest first.
        seed: int32 tensor that broadcasts with it.

    Returns:
        int32 tensor, whose bits are the hash.

    Example:

    >>> int(murmur_hash(0, 0)) == 0x2362F9DE
    True

    References:
        Appleby, https://github.com/aappleby/smhasher, MurmurHash3.cpp.
    """
    key = ops.cast(key, "int32") * _int32(0xCC9E2D51)
    key = _rotate_left(key, 15) * _int32(0x1B873593)
    x = ops.bitwise_xor(ops.cast(seed, "int32"), key)
    x = _rotate_left(x, 13) * _int32(5) + _int32(0xE6546B64)
    x = ops.bitwise_xor(x, _int32(4))  # The number of bytes.
    x = _xor_shifted(x, 16) * _int32(0x85EBCA6B)
    x = _xor_shifted(x, 13) * _int32(0xC2B2AE35)
    return _xor_shifted(x, 16)


def uniform(seed, position):
    """Draw a number between 0 and 1.

    Args:
        seed: int32 tensor of shape (B,) or (1,).
        position: int32 tensor of shape (B,).

    Returns:
        float32 tensor of shape (B,): one of the 2 ** 23 numbers (i + 0.5) /
        2 ** 23, never 0 or 1.

    Example:

    >>> import numpy as np
    >>> number = uniform(np.array([7]), np.array([0]))
    >>> 0.0 < float(number[0]) < 1.0
    True
    """
    bits = _shift_right(murmur_hash(position, seed), 9)
    # Exact: 23 bits and a half fit the 24 bits of a float32.
    return (ops.cast(bits, "float32") + 0.5) * 2.0**-23


def _int32(bits):
    number = np.array(bits, "uint32").view("int32")
    return ops.convert_to_tensor(number, dtype="int32")


def _shift_right(x, places):
    shifted = ops.right_shift(x, _int32(places))
    return ops.bitwise_and(shifted, _int32(2 ** (32 - places) - 1))


def _rotate_left(x, places):
    return ops.bitwise_or(
        ops.left_shift(x, _int32(places)), _shift_right(x, 32 - places)
    )


def _xor_shifted(x, places):
    return ops.bitwise_xor(x, _shift_right(x, places))
