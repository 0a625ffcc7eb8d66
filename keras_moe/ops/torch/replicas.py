"""Sums over the processes of `torch.distributed`."""

import os

import torch


def num_replicas():
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized()):
        return 1
    return distributed.get_world_size()


def sum_over_replicas(values):
    total = values.detach().clone(memory_format=torch.contiguous_format)
    torch.distributed.all_reduce(total)
    return total


def check_group():
    """Raise if several processes were launched that do not know each other.

    Raises:
        RuntimeError: If a launcher started several, without a process group.
    """
    launched = int(os.environ.get("WORLD_SIZE", 1))
    if launched > 1 and not torch.distributed.is_initialized():
        raise RuntimeError(
            "Expected a process group. Received: none, and "
            f"WORLD_SIZE={launched}. Call "
            "`torch.distributed.init_process_group()` at the beginning."
        )
