"""What is read of a program's text."""

import pytest

from keras_moe.planning.hlo import num_bytes
from keras_moe.planning.hlo import read_computations
from keras_moe.planning.hlo import times_run

pytestmark = pytest.mark.once


def test_reads_computations_and_opcodes(program):
    assert program.entry == "main.9_spmd"
    opcodes = [each.opcode for each in program.instructions["condition"]]
    assert opcodes == ["parameter", "get-tuple-element", "constant", "compare"]


def test_a_tuple_has_the_arrays_of_its_parts(program):
    (reduced,) = (
        each
        for each in program.instructions[program.entry]
        if each.opcode == "all-reduce"
    )
    assert reduced.name == "all-reduce.5"
    assert reduced.arrays == [("f32", ()), ("f32", (4,)), ("bf16", (8,))]
    # 4 + 4 * 4 + 8 * 2 bytes.
    assert num_bytes(reduced.arrays) == 36


def test_a_loop_runs_its_body_as_often_as_it_says(program):
    times = times_run(program)
    assert times["body"] == 3
    # The start of an asynchronous call runs it, its end does not.
    assert times["gather_fusion"] == 1
    # Called by two fusions and an all-reduce.
    assert times["add.1"] == 3


@pytest.mark.parametrize(
    ("dtype", "bits"),
    [("pred", 8), ("s4", 4), ("f8e4m3fn", 8), ("bf16", 16), ("c64", 64)],
)
def test_every_dtype_has_its_width(dtype, bits):
    assert num_bytes([(dtype, (8,))]) == bits


def test_text_of_something_else_is_refused():
    with pytest.raises(ValueError, match="5 characters without an ENTRY"):
        read_computations("hello")
