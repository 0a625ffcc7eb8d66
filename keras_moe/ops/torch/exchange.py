"""Rows travel between the processes of the expert axis, on PyTorch.

The functions are those of `ops/jax/exchange.py`; D is the number of processes
of the expert axis. Every process calls them, in the same order.
"""

import torch

from keras_moe.ops.gradients import custom_vjp
from keras_moe.ops.mesh_axes import EXPERT
from keras_moe.ops.torch.expert_parallel import group


def on_each_device(function, rows, expert_tensors):
    """Run a function on what this process has."""
    return function(rows, expert_tensors)


def can_divide(rows):
    """Tell whether experts are on several processes."""
    processes = group(EXPERT)
    return processes is not None and processes.size() > 1


def first_expert(num_experts):
    """Return the index of this process' first expert; each has as many."""
    return group(EXPERT).rank() * num_experts


def send_blocks(blocks):
    """Send each expert's block of rows to it: (E, N, H) -> (E / D, D * N, H).

    Every process sends equally many.
    """
    num_processes = group(EXPERT).size()
    num_experts, num_rows, hidden_dim = blocks.shape
    blocks = _travel(blocks.reshape(num_experts * num_rows, hidden_dim))
    # (D, E / D, N, H) -> (E / D, D * N, H)
    blocks = blocks.reshape(num_processes, -1, num_rows, hidden_dim)
    return blocks.transpose(0, 1).reshape(
        -1, num_processes * num_rows, hidden_dim
    )


def return_blocks(blocks):
    """Send blocks back: (E / D, D * N, H) -> (E, N, H)."""
    num_processes = group(EXPERT).size()
    num_here, num_rows, hidden_dim = blocks.shape
    blocks = blocks.reshape(num_here, num_processes, -1, hidden_dim)
    rows = blocks.transpose(0, 1).reshape(-1, hidden_dim)
    num_rows = num_rows // num_processes
    return _travel(rows).reshape(-1, num_rows, hidden_dim)


def where_rows_can_be_sent(otherwise, send, *arrays):
    """Choose to send them: every platform can."""
    return send(*arrays)


def exchange_rows(rows, group_sizes, compute):
    """Let each row be computed where its expert is.

    Args:
        rows: tensor of shape (R, H), sorted by expert.
        group_sizes: int32 tensor of shape (E,).
        compute: function of rows that have arrived, in the order of the
            processes they come from, and the number of rows of each of these
            processes for each expert here, shape (D, E / D); returns rows of
            the same order.

    Returns:
        Tensor of shape (R, H); rows past the sum of the sizes are 0.
    """
    if rows.is_meta:  # Keras asks for shapes.
        return rows
    leaving = group_sizes.reshape(group(EXPERT).size(), -1)
    arriving = _all_to_all(leaving, None, None)
    # The sizes of what travels are known on the host.
    leave, arrive = leaving.sum(1).tolist(), arriving.sum(1).tolist()
    arrived = _travel(rows[: sum(leave)], leave, arrive)
    outputs = _travel(compute(arrived, arriving), arrive, leave)
    past = outputs.new_zeros((rows.shape[0] - sum(leave), outputs.shape[1]))
    return torch.cat([outputs, past])


def _travel(rows, leave=None, arrive=None):
    """Send rows, process by process; the gradient sends them back."""

    def send(rows):
        return _all_to_all(rows, leave, arrive)

    def send_back(rows, cotangent):
        return (_all_to_all(cotangent, arrive, leave),)

    return custom_vjp(send, send_back)((rows,), ())


def _all_to_all(rows, leave, arrive):
    num_arriving = rows.shape[0] if arrive is None else sum(arrive)
    arrived = rows.new_empty((num_arriving, *rows.shape[1:]))
    if not rows.is_meta:
        torch.distributed.all_to_all_single(
            arrived, rows.contiguous(), arrive, leave, group(EXPERT)
        )
    return arrived
