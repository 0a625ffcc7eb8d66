"""What the processes of `torch.distributed` that train a model share."""

import os
import random

import numpy as np
import torch


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


def rank():
    """Return the number of this process, from 0."""
    return torch.distributed.get_rank()


def share_values(variables):
    """Give variables the values that they have in the first process.

    Args:
        variables: list of `keras.Variable`, the same in every process.
    """
    for variable in variables:
        torch.distributed.broadcast(variable.value.detach(), src=0)


def share_random_state():
    """Let data be shuffled as in the first process."""
    states = [random.getstate(), np.random.get_state(), torch.get_rng_state()]
    torch.distributed.broadcast_object_list(states, src=0)
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])


def average_gradient(variable):
    """Let every backward pass end with the mean gradient of all processes.

    Args:
        variable: trainable `keras.Variable`.
    """
    variable.value.register_post_accumulate_grad_hook(_average)


def _average(parameter):
    parameter.grad /= torch.distributed.get_world_size()
    torch.distributed.all_reduce(parameter.grad)
