"""The largest arrays of a program, and what makes them."""

import re
from typing import NamedTuple

from keras_moe.planning.hlo import num_bytes

# They give another name to memory that is counted elsewhere, as does the start
# of what is asynchronous.
_ALIASES = (
    "bitcast",
    "get-tuple-element",
    "tuple",
    "opt-barrier",
    "while",
    "conditional",
)
_OP_NAME = re.compile(r'op_name="([^"]*)"')
# What JAX adds to the names of layers; a gradient repeats its operation's.
_BEFORE_LAYERS = re.compile(r".*jvp\([^/]*\)+/|^jit\([^/]*\)/")
_RECOMPUTED = re.compile(r"(?:checkpoint|rematted_computation)/")


class LargeArray(NamedTuple):
    """Arrays of one shape.

    Attributes:
        bytes: int, of one of them on one device, without padding.
        dtype: str, as XLA writes it.
        shape: tuple of ints, of one device's part.
        times: int, how many there are, not all at the same time.
        made_by: str, the operation of the model, or XLA's own; `"argument"`
            for weights, slots and the batch.
    """

    bytes: int
    dtype: str
    shape: tuple
    times: int
    made_by: str


def largest_arrays(program, number=8):
    """Find the largest arrays that a program keeps in memory.

    Args:
        program: `keras_moe.planning.hlo.Computations`.
        number: int, how many to return.

    Returns:
        list of `LargeArray`, the largest first.

    Example:

    >>> from keras_moe.planning.hlo import read_computations
    >>> largest_arrays(read_computations('''
    ... ENTRY %main (x: f32[8]) -> f32[8,8] {
    ...   %x = f32[8] parameter(0)
    ...   ROOT %y = f32[8,8] broadcast(%x), metadata={op_name="jit(f)/outer"}
    ... }'''), number=1)
    [LargeArray(bytes=256, dtype='f32', shape=(8, 8), times=1, made_by='outer')]
    """
    found: dict = {}
    for instruction in program.instructions[program.entry]:
        opcode = instruction.opcode
        if opcode in _ALIASES or opcode.endswith("-start"):
            continue
        for array in instruction.arrays:
            found.setdefault(array, []).append(_made_by(instruction))
    ordered = sorted(found, key=lambda array: -num_bytes([array]))
    return [
        LargeArray(
            num_bytes([(dtype, shape)]),
            dtype,
            shape,
            len(found[dtype, shape]),
            found[dtype, shape][0],
        )
        for dtype, shape in ordered[:number]
    ]


def _made_by(instruction):
    if instruction.opcode == "parameter":
        return "argument"
    name = _OP_NAME.search(instruction.line)
    if name is None:
        return instruction.opcode
    layers = _RECOMPUTED.sub("", _BEFORE_LAYERS.sub("", name[1]))
    return f"gradient of {layers}" if "transpose(" in name[1] else layers
