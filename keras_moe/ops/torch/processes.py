"""What the processes of `torch.distributed` that train a model share."""

import random

import numpy as np
import torch

from keras_moe.ops.torch.expert_parallel import group_of_copies


def rank():
    """Return the number of this process, from 0."""
    return torch.distributed.get_rank()


def share_value(variable):
    """Give a variable the value that it has in the first process with it.

    Args:
        variable: `keras.Variable`.
    """
    torch.distributed.broadcast(
        variable.value.detach(), group=group_of_copies(variable), group_src=0
    )


def share_random_state():
    """Let data be shuffled as in the first process."""
    states = [random.getstate(), np.random.get_state(), torch.get_rng_state()]
    torch.distributed.broadcast_object_list(states, src=0)
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])


def average_gradient(variable):
    """Let every backward pass end with the gradient of the mean loss.

    That is the mean over all processes. Experts are in some of them, to
    which the tokens of the others have come: what these processes have is
    the sum over the others already.

    Args:
        variable: trainable `keras.Variable`.
    """
    group = group_of_copies(variable)

    def average(parameter):
        parameter.grad /= torch.distributed.get_world_size()
        torch.distributed.all_reduce(parameter.grad, group=group)

    variable.value.register_post_accumulate_grad_hook(average)
    variable.is_averaged = True
