"""Tokens travel to experts on other devices."""

import functools

from keras import distribution
from keras import ops

from keras_moe.dispatch.sorted_rows import carry_sorted
from keras_moe.dispatch.visited_devices import carry_all_here
from keras_moe.dispatch.visited_devices import visit_devices
from keras_moe.distribution.expert_weights import check_distribution
from keras_moe.ops.backend import load_or

_exchange = load_or("exchange", None)


def between_devices(way, tokens, experts):
    """Let a way of carrying tokens reach experts on other devices.

    Each device carries its own groups of tokens, and what the experts see
    travels: buffers by an all-to-all, tokens by a ragged one, each to the
    devices that have experts of it. Where the platform has none, all tokens
    go to all devices of the expert axis.

    Args:
        way: function of tokens, plan and experts.
        tokens: float tensor of shape (G, S, H).
        experts: `keras_moe.experts.ExpertBank`.

    Returns:
        A function like `way`; `way` itself if no `ExpertParallel`
        distribution is set, or its devices cannot divide the groups.

    Raises:
        ValueError: If the experts were made under another distribution.
    """
    if _exchange is None or not _exchange.can_divide(tokens):
        return way
    if not experts.built:
        experts.build((None, tokens.shape[-1]))
    check_distribution(experts.weights, distribution.distribution())
    return functools.partial(_carry, way)


def _carry(way, tokens, plan, experts):
    # What a way looks at; scores need not travel.
    plan = plan._replace(scores=None)
    parts = {
        name: part
        for name, part in zip(plan._fields, plan, strict=True)
        if getattr(part, "ndim", 0)
    }

    def carry_all(tokens, parts, tensors):
        here = ExpertsHere(experts, tensors)
        return carry_all_here(tokens, plan._replace(**parts), here)

    def carry_visits(tokens, parts, tensors):
        here = ExpertsHere(experts, tensors)
        num_devices = experts.num_experts // here.num_experts
        return visit_devices(tokens, plan._replace(**parts), here, num_devices)

    def carry_here(rows, tensors):
        tokens, parts = rows
        here = ExpertsHere(experts, tensors)
        if here.num_experts == experts.num_experts:
            return way(tokens, plan._replace(**parts), here)
        if way is not carry_sorted:
            elsewhere = ExpertsElsewhere(experts.num_experts, here)
            return way(tokens, plan._replace(**parts), elsewhere)
        return _exchange.where_rows_can_be_sent(
            carry_all, carry_visits, tokens, parts, tensors
        )

    return _exchange.on_each_device(
        carry_here, (tokens, parts), experts.tensors()
    )


class ExpertsHere:
    """The experts of this device, called like a bank."""

    def __init__(self, experts, tensors):
        self.num_experts = tensors[0].shape[0]
        self._experts = experts
        self._tensors = tensors

    def __call__(self, rows, group_sizes=None):
        rows = ops.cast(rows, self._experts.compute_dtype)
        # Under a `keras.RematScope` the experts are recomputed, and nothing
        # travels again.
        compute = self._experts.rematerialized_call(self._experts.compute_with)
        return compute(rows, group_sizes, self._tensors)


class ExpertsElsewhere:
    """All experts, called like a bank; their blocks of rows travel."""

    def __init__(self, num_experts, here):
        self.num_experts = num_experts
        self._here = here

    def __call__(self, blocks):
        blocks = self._here(_exchange.send_blocks(blocks))
        return _exchange.return_blocks(blocks)
