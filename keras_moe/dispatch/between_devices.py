"""Tokens travel to experts on other devices."""

import functools

from keras import distribution
from keras import ops

from keras_moe.dispatch.sorted_rows import carry_sorted
from keras_moe.distribution.expert_weights import check_distribution
from keras_moe.ops.backend import load_or
from keras_moe.ops.permute import gather_rows
from keras_moe.ops.sorting import invert_permutation
from keras_moe.ops.sorting import stable_argsort
from keras_moe.ops.widen import int32

_exchange = load_or("exchange", None)


def between_devices(way, tokens, experts):
    """Let a way of carrying tokens reach experts on other devices.

    Each device carries its own groups of tokens, and what the experts see
    travels: buffers by an all-to-all, sorted rows by a ragged one, or, where
    the platform has none, all tokens go to all devices of the expert axis.

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

    def carry_own(tokens, parts, tensors):
        here = ExpertsHere(experts, tensors)
        own_plan = plan._replace(**parts)
        if here.num_experts == experts.num_experts:
            return way(tokens, own_plan, here)
        elsewhere = ExpertsElsewhere(experts.num_experts, here)
        return way(tokens, own_plan, elsewhere)

    def carry_all(tokens, parts, tensors):
        here = ExpertsHere(experts, tensors)
        gathered = {k: _exchange.gather_rows(v) for k, v in parts.items()}
        plan_here = _for_experts_here(plan._replace(**gathered), here)
        outputs = way(_exchange.gather_rows(tokens), plan_here, here)
        return _exchange.add_up_rows(outputs)

    def carry_here(rows, tensors):
        tokens, parts = rows
        # Buffers travel on every platform, sorted rows on some.
        nothing_travels = tensors[0].shape[0] == experts.num_experts
        if nothing_travels or way is not carry_sorted:
            return carry_own(tokens, parts, tensors)
        return _exchange.where_rows_can_be_sent(
            carry_all, carry_own, tokens, parts, tensors
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
    """All experts, called like a bank; their rows travel."""

    def __init__(self, num_experts, here):
        self.num_experts = num_experts
        self._here = here

    def __call__(self, rows, group_sizes=None):
        if group_sizes is not None:
            return _exchange.exchange_rows(rows, group_sizes, self._sort)
        blocks = self._here(_exchange.send_blocks(rows))
        return _exchange.return_blocks(blocks)

    def _sort(self, rows, counts):
        """Compute rows that come device by device: (D, E / D) of them."""
        num_experts = counts.shape[1]
        ends = ops.cumsum(ops.reshape(counts, (-1,)), dtype="int32")
        position = ops.arange(rows.shape[0], dtype="int32")
        run = ops.searchsorted(ends, position, side="right")
        expert = ops.where(
            position < ends[-1], int32(run) % num_experts, num_experts
        )
        order = stable_argsort(expert, num_experts)
        inverse = invert_permutation(order)
        rows = gather_rows(rows, order, inverse[:, None])
        rows = self._here(rows, ops.sum(counts, axis=0))
        return gather_rows(rows, inverse, order[:, None])


def _for_experts_here(plan, here):
    """Send all pairs nowhere but those of the experts on this device."""
    indices = int32(plan.expert_indices) - _exchange.first_expert(
        here.num_experts
    )
    is_here = (indices >= 0) & (indices < here.num_experts)
    return plan._replace(
        expert_indices=ops.where(is_here, indices, here.num_experts),
        tokens_per_expert=None,
    )
