"""Write a stretch of one axis on PyTorch, by an index of that axis alone."""

import torch


def write_slice(inputs, updates, start, axis):
    length = updates.shape[axis]
    positions = start + torch.arange(length, device=inputs.device)
    outputs = inputs.clone()
    outputs[(slice(None),) * axis + (positions,)] = updates
    return outputs
