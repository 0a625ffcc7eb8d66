"""Write each row at a place of its own on PyTorch, by an index of two axes."""

import torch


def write_rows(inputs, updates, starts, axis):
    batch_size, length = inputs.shape[0], updates.shape[axis]
    rows = torch.arange(batch_size, device=inputs.device)[:, None]
    positions = starts[:, None] + torch.arange(length, device=inputs.device)
    outputs = inputs.clone()
    # The indexed axes come first in what is assigned.
    place = (rows, *[slice(None)] * (axis - 1), positions)
    outputs[place] = updates.movedim(axis, 1)
    return outputs
