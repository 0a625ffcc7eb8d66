"""What devices send each other, by kind, from a program's text."""

import math
import re
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


# How the devices of a group are written: one by one, as the shape of a list of
# groups, or as axes of a mesh.
_LISTED = re.compile(r"replica_groups=\{\{([\d,]+)\}")
_SHAPED = re.compile(r"replica_groups=\[\d+,(\d+)\]")
_MESH = re.compile(r"replica_groups=mesh\[([^\]]*)\][^{]*\{([^}]*)\}")
_OPERAND = re.compile(r"-done\([^%]*%([\w.-]+)")


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
    Those of a single device are left out.

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
        lines = {each.name: each.line for each in instructions}
        for instruction in instructions if name in times else ():
            # The start of an asynchronous one holds its operands as well, its
            # end does not name the devices.
            kind = instruction.opcode.removesuffix("-done")
            start = _OPERAND.search(instruction.line)
            line = lines.get(start[1], "") if start else instruction.line
            if kind in KINDS and _group_size(line) != 1:
                count, total = totals.get(kind, (0, 0))
                size = times[name] * num_bytes(instruction.arrays)
                totals[kind] = Traffic(count + times[name], total + size)
    return {kind: totals[kind] for kind in KINDS if kind in totals}


def _group_size(line):
    """Return how many devices take part together, or `None` if unknown."""
    if listed := _LISTED.search(line):
        return len(listed[1].split(","))
    if shaped := _SHAPED.search(line):
        return int(shaped[1])
    if mesh := _MESH.search(line):
        sizes = dict(each.split("=") for each in mesh[1].split(","))
        return math.prod(int(sizes[axis]) for axis in mesh[2].split(","))
    return None
