"""Each layout against a loop by hand, and forth and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_moe.checkpoints import layouts

# Files and NumPy, no tensor of a backend.
pytestmark = pytest.mark.once

# Layout, axes of our variable, tensors for each expert (None: one for all).
LAYOUTS = {
    "same": (layouts.SAME, 1, None),
    "same_matrix": (layouts.SAME, 2, None),
    "flat": (layouts.FLAT, 2, None),
    "linear": (layouts.LINEAR, 2, None),
    "linear_to_heads": (layouts.LINEAR, 3, None),
    "linear_from_heads": (layouts.LINEAR_FROM_HEADS, 3, None),
    "fused_experts": (layouts.FUSED_EXPERTS, 3, None),
    "experts": (layouts.EXPERTS, 3, 1),
    "experts_of_two_branches": (layouts.EXPERTS, 3, 2),
}


def draw(shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


@pytest.mark.parametrize("name", LAYOUTS)
@given(st.data())
def test_what_is_saved_is_loaded_again(name, data):
    layout, num_axes, per_expert = LAYOUTS[name]
    sizes = [data.draw(st.integers(1, 4)) for _ in range(num_axes)]
    count = 1 if per_expert is None else per_expert * sizes[0]
    if per_expert:
        sizes[2] *= per_expert
    shape = tuple(sizes)
    ours = draw(shape)
    theirs = layout.save([ours], count)
    expected = layout.their_shapes([shape], count)
    assert [tensor.shape for tensor in theirs] == list(map(tuple, expected))
    (loaded,) = layout.load(theirs, [shape])
    assert loaded.dtype == ours.dtype
    np.testing.assert_array_equal(loaded, ours)


def test_a_linear_kernel_is_transposed():
    # (O, D) = (2, 3)
    theirs = draw((2, 3))
    (ours,) = layouts.LINEAR.load([theirs], [(3, 2)])
    for row, column in np.ndindex(2, 3):
        assert ours[column, row] == theirs[row, column]


def test_heads_are_the_outer_part_of_an_output():
    # (O, D) = (N * D, H): a query's kernel is (H, N, D).
    num_heads, head_dim, hidden_dim = 2, 3, 4
    theirs = draw((num_heads * head_dim, hidden_dim))
    shape = (hidden_dim, num_heads, head_dim)
    (ours,) = layouts.LINEAR.load([theirs], [shape])
    for hidden, head, within in np.ndindex(shape):
        row = head * head_dim + within
        assert ours[hidden, head, within] == theirs[row, hidden]


def test_heads_are_the_outer_part_of_an_input():
    # (O, D) = (H, N * D): an attention's output kernel is (N, D, H).
    num_heads, head_dim, hidden_dim = 2, 3, 4
    theirs = draw((hidden_dim, num_heads * head_dim))
    shape = (num_heads, head_dim, hidden_dim)
    (ours,) = layouts.LINEAR_FROM_HEADS.load([theirs], [shape])
    for head, within, hidden in np.ndindex(shape):
        column = head * head_dim + within
        assert ours[head, within, hidden] == theirs[hidden, column]


def test_a_bias_of_all_heads_is_cut_by_head():
    theirs = draw((6,))
    (ours,) = layouts.FLAT.load([theirs], [(2, 3)])
    for head, within in np.ndindex(2, 3):
        assert ours[head, within] == theirs[head * 3 + within]


def test_what_is_the_same_stays_the_same():
    theirs = draw((2, 3))
    (ours,) = layouts.SAME.load([theirs], [(2, 3)])
    np.testing.assert_array_equal(ours, theirs)


def test_fused_experts_are_transposed_one_by_one():
    # (E, O, D): gate's rows before up's, as our columns.
    theirs = draw((3, 4, 5))
    (ours,) = layouts.FUSED_EXPERTS.load([theirs], [(3, 5, 4)])
    for expert, row, column in np.ndindex(3, 4, 5):
        assert ours[expert, column, row] == theirs[expert, row, column]


def test_experts_of_two_branches_are_gates_then_ups():
    num_experts, hidden_dim, width = 3, 5, 2
    gates = [draw((width, hidden_dim)) + index for index in range(num_experts)]
    ups = [draw((width, hidden_dim)) - index for index in range(num_experts)]
    shape = (num_experts, hidden_dim, 2 * width)
    (ours,) = layouts.EXPERTS.load([*gates, *ups], [shape])
    for expert, hidden, column in np.ndindex(num_experts, hidden_dim, width):
        gate, up = gates[expert], ups[expert]
        assert ours[expert, hidden, column] == gate[column, hidden]
        assert ours[expert, hidden, width + column] == up[column, hidden]


def test_the_experts_shapes_are_one_matrix_each():
    assert layouts.EXPERTS.their_shapes([(3, 5, 4)], 6) == [(2, 5)] * 6
    assert layouts.EXPERTS.their_shapes([(3, 5, 4)], 3) == [(4, 5)] * 3
