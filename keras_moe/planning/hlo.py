"""Reads the text of a compiled program: computations and instructions.

The text is XLA's own format, which is not promised to stay. What is read of it
is little: a line `%name = type opcode(operands), attributes`.
"""

import math
import re
from typing import NamedTuple

_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.-]+) = (.*)$")
# A type may hold parentheses, but none right behind a word of its own.
_OPCODE = re.compile(r" ([a-z][\w-]*)\(")
_ARRAY = re.compile(r"\b([a-z]+\d*(?:e\d+m\d+\w*)?)\[([\d,]*)\]")
_CALLED = re.compile(
    r"\b(?:calls|body|to_apply|called_computations?)=\{?%?([\w.-]+)"
)
_BRANCHES = re.compile(r"\bbranch_computations=\{([^}]*)\}")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_BITS = re.compile(r"\d+")


class Instruction(NamedTuple):
    """One line of a computation.

    Attributes:
        name: str.
        opcode: str, such as `"all-reduce"`.
        arrays: list of (dtype, shape), the results.
        line: str, all of it.
    """

    name: str
    opcode: str
    arrays: list
    line: str


class Computations(NamedTuple):
    """The computations of a program.

    Attributes:
        entry: str, name of the one that is run.
        instructions: dict from a name to a list of `Instruction`.
    """

    entry: str
    instructions: dict


def read_computations(text):
    """Read the text of a compiled program.

    Args:
        text: str, optimized HLO.

    Returns:
        `Computations`.

    Raises:
        ValueError: If it has no entry.

    Example:

    >>> program = read_computations('''
    ... ENTRY %main (x: f32[8]) -> f32[8] {
    ...   %x = f32[8]{0:T(128)} parameter(0)
    ...   ROOT %y = f32[8]{0:T(128)} negate(%x)
    ... }''')
    >>> [each.opcode for each in program.instructions[program.entry]]
    ['parameter', 'negate']
    """
    entry = None
    instructions: dict[str, list[Instruction]] = {}
    inside: list[Instruction] = []
    for line in text.splitlines():
        start = _COMPUTATION.match(line)
        if start:
            inside = instructions.setdefault(start[2], [])
            entry = start[2] if start[1] else entry
            continue
        parts = _INSTRUCTION.match(line)
        opcode = _OPCODE.search(parts[2]) if parts else None
        if parts and opcode:
            arrays = _arrays(parts[2][: opcode.start()])
            inside.append(Instruction(parts[1], opcode[1], arrays, line))
    if entry is None:
        raise ValueError(
            "Expected the text of a compiled program. Received: "
            f"{len(text)} characters without an ENTRY. Use the version of "
            "libtpu that `jax[tpu]` names."
        )
    return Computations(entry, instructions)


def times_run(program):
    """Count how often each computation is run by one run of the entry.

    A loop of unknown length counts once.

    Args:
        program: `Computations`.

    Returns:
        dict from a computation's name to int.

    Example:

    >>> program = read_computations('''
    ... %body (x: f32[8]) -> f32[8] {
    ...   ROOT %y = f32[8] negate(f32[8] %x)
    ... }
    ... ENTRY %main (x: f32[8]) -> f32[8] {
    ...   %x = f32[8] parameter(0)
    ...   ROOT %z = f32[8] while(%x), condition=%c, body=%body,
    ...     backend_config={"known_trip_count":{"n":"4"}}
    ... }'''.replace(",\\n    ", ", "))
    >>> times_run(program)
    {'main': 1, 'body': 4}
    """
    counts = {program.entry: 1}
    # Computations come before those that call them.
    for name in reversed(program.instructions):
        for instruction in program.instructions[name] if name in counts else ():
            trips = _TRIPS.search(instruction.line)
            times = counts[name] * (int(trips[1]) if trips else 1)
            for called in _called(instruction):
                counts[called] = counts.get(called, 0) + times
    return counts


def num_bytes(arrays):
    """Add up the bytes of arrays, without padding.

    Args:
        arrays: list of (dtype, shape).

    Returns:
        int.

    Example:

    >>> num_bytes([("bf16", (4, 8)), ("pred", (3,)), ("f32", ())])
    71
    """
    bits = sum(math.prod(shape) * _bits(dtype) for dtype, shape in arrays)
    return -(-bits // 8)


def _called(instruction):
    # The end of an asynchronous call names it a second time.
    if instruction.opcode.endswith(("-done", "-update")):
        return
    yield from _CALLED.findall(instruction.line)
    for names in _BRANCHES.findall(instruction.line):
        yield from (name.strip(" %") for name in names.split(","))


def _arrays(text):
    return [
        (dtype, tuple(int(n) for n in shape.split(",") if n))
        for dtype, shape in _ARRAY.findall(text)
        if dtype != "token"
    ]


def _bits(dtype):
    bits = _BITS.search(dtype)
    return int(bits[0]) if bits else 8  # `pred` is a byte.
