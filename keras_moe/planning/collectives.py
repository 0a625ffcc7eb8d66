"""What devices send each other, by kind, from a program's text."""

from typing import NamedTuple

from keras_moe.planning.hlo import num_bytes
from keras_moe.planning.hlo import times_run

KINDS = (
    "all-to-all",
    "ragged-all-to-all",
    "all-gather",
    "reduce-scatter",
    "all-reduce",
    "collective-permute",
    "collective-broadcast",
)


class Traffic(NamedTuple):
    """How many collectives of a kind run, and the bytes of their results.

    Attributes:
        times: int, how often one runs in a step.
        bytes: int, of the results on one device.
    """

    times: int
    bytes: int


def count_collectives(program):
    """Add up the collectives of a program, by kind.

    An all-reduce that sums zeros but for one device's part gathers; libtpu
    writes it for some gathers, and it is counted as what it is written as.

    Args:
        program: `keras_moe.planning.hlo.Computations`.

    Returns:
        dict from the kind to `Traffic`.

    Example:

    >>> from keras_moe.planning.hlo import read_computations
    >>> count_collectives(read_computations('''
    ... ENTRY %main (x: f32[8]) -> f32[64] {
    ...   %x = f32[8] parameter(0)
    ...   %s = (f32[8], f32[64]) all-gather-start(%x), dimensions={0}
    ...   ROOT %y = f32[64] all-gather-done(%s)
    ... }'''))
    {'all-gather': Traffic(times=1, bytes=256)}
    """
    times = times_run(program)
    totals: dict = {}
    for name, instructions in program.instructions.items():
        for instruction in instructions if name in times else ():
            # The start of an asynchronous one holds its operands as well.
            kind = instruction.opcode.removesuffix("-done")
            if kind in KINDS:
                count, total = totals.get(kind, (0, 0))
                size = times[name] * num_bytes(instruction.arrays)
                totals[kind] = Traffic(count + times[name], total + size)
    return {kind: totals[kind] for kind in KINDS if kind in totals}
