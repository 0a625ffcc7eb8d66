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


def exchange_rows(arrays, sizes, compute, most):
    """Let rows be computed on other processes.

    Args:
        arrays: list of tensors of shape (R, ...), the rows sorted by process.
        sizes: int32 tensor of shape (D,), how many go to each process.
        compute: function of the rows that have arrived, a tensor for each of
            `arrays`; returns a tensor with rows of the same order.
        most: unused; the most rows that a process sends to another.

    Returns:
        Tensor of shape (R, ...); rows past the sum of the sizes are 0.
    """
    if sizes.is_meta:  # Keras asks for shapes.
        return arrays[0]
    # The sizes of what travels are known on the host.
    arriving = _all_to_all(sizes, None, None)
    leave, arrive = torch.stack([sizes, arriving]).tolist()
    leaving = sum(leave)
    arrived = (_travel(rows[:leaving], leave, arrive) for rows in arrays)
    outputs = _travel(compute(*arrived), arrive, leave)
    past = outputs.new_zeros((len(arrays[0]) - leaving, *outputs.shape[1:]))
    return torch.cat([outputs, past])


def known_number(number):
    """Return a number of the device, as an int."""
    return int(number)


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
