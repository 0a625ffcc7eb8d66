"""Stable sorting, ranking and counting on PyTorch."""

import torch
from keras import ops


def top_k(scores, k):
    # `torch.topk` leaves the order of equals open, a stable sort does not.
    scores = ops.convert_to_tensor(scores).detach()
    if k == 1:  # The first of equals as well, thirty times as fast.
        return torch.argmax(scores, dim=-1, keepdim=True).to(torch.int32)
    order = torch.sort(scores, dim=-1, descending=True, stable=True).indices
    return order[..., :k].to(torch.int32)


def stable_argsort(values, largest=None):
    values = ops.convert_to_tensor(values).detach()
    return torch.sort(values, dim=-1, stable=True).indices.to(torch.int32)


def invert_permutation(order):
    order = ops.convert_to_tensor(order).long()
    position = torch.arange(
        order.shape[-1], dtype=torch.int32, device=order.device
    ).expand(order.shape)
    inverse = torch.empty_like(position, memory_format=torch.contiguous_format)
    return inverse.scatter_(-1, order, position)


def count(values, num_values):
    # `torch.bincount` would wait for the device to learn its output's size.
    values = ops.convert_to_tensor(values).long().clamp(max=num_values)
    counts = torch.zeros(
        num_values + 1, dtype=torch.int32, device=values.device
    )
    ones = torch.ones_like(values, dtype=torch.int32)
    return counts.scatter_add(0, values, ones)[:num_values]
