"""What devices send each other."""

import pytest

from keras_moe.planning.collectives import Traffic
from keras_moe.planning.collectives import count_collectives
from keras_moe.planning.hlo import read_computations

pytestmark = pytest.mark.once


def test_adds_up_the_results_by_kind(program):
    assert count_collectives(program) == {
        "all-to-all": Traffic(1, 4 * 64 * 256 * 2),
        # Inside of an asynchronous computation.
        "all-gather": Traffic(1, 512 * 256 * 2),
        # A scalar, four loads, and eight numbers of two bytes.
        "all-reduce": Traffic(1, 4 + 16 + 16),
        # Three times around the loop; the start repeats its operand.
        "collective-permute": Traffic(3, 3 * 64 * 256 * 2),
    }


@pytest.mark.parametrize(
    ("groups", "is_counted"),
    [
        ("{{0,1},{2,3}}", True),
        ("{{0},{1},{2},{3}}", False),
        ("[2,2]<=[4]", True),
        ("[4,1]<=[2,2]T(1,0)", False),
        ("mesh['a'=2,'b'=1,'c'=2], device_ids=([2,2]T(1,0)) {'b','c'}", True),
        ("mesh['a'=4,'b'=1] {'b'}", False),
        ("{}", True),
    ],
)
def test_a_device_alone_sends_nothing(groups, is_counted):
    program = read_computations(f"""
ENTRY %main (x: f32[8]) -> f32[8] {{
  %x = f32[8]{{0:T(128)}} parameter(0)
  %s = f32[8] all-reduce-start(%x), replica_groups={groups}, to_apply=%a
  %d = f32[8]{{0:T(128)}} all-reduce-done(%s)
  ROOT %y = f32[8] all-reduce(%d), replica_groups={groups}, to_apply=%a
}}""")
    found = count_collectives(program)
    expected = {"all-reduce": Traffic(2, 64)} if is_counted else {}
    assert found == expected
