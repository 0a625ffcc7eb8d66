"""Balanced assignment: one expert for each token, equally many for each."""

from keras import ops

from keras_moe.ops.sorting import invert_permutation
from keras_moe.ops.sorting import stable_argsort
from keras_moe.ops.widen import int32
from keras_moe.routing.expert_choice import LOWEST
from keras_moe.routing.groups import to_groups

# The least raise of a price, over the largest difference of a token's scores.
# fairseq's auction has the same.
EPSILON = 1 / 50
MAX_ROUNDS = 500


def assign_evenly(scores, padding_mask=None):
    """Assign tokens to experts evenly, with a sum of scores near the largest.

    An auction (Bertsekas, 1992): tokens without a place bid for the expert
    that is worth most to them after its price, as much as it is worth more
    than their second best; an expert keeps its highest bids, and its price is
    the lowest of these. Of n real tokens, `n // E` go to each expert; a second
    auction gives the `n % E` that are left to different experts.

    Where E divides n, the sum of scores is within `n / 50` of the largest sum,
    in units of the largest difference of two scores of a token; on normal
    scores it is within a percent of it. After 500 rounds, which the bound
    does not need in practice, tokens take the free places in their order.

    Args:
        scores: float32 tensor of shape (..., E). A row of the batch is a
            group; rank 2 is a single group.
        padding_mask: optional bool tensor of shape (...), True = real token.

    Returns:
        int32 tensor of shape (...), the token's expert; E for padding. No
        gradient.

    Example:

    >>> import numpy as np
    >>> scores = np.array([[5, 1], [4, 3], [9, 0], [2, 1]], "float32")
    >>> np.array(assign_evenly(scores)).tolist()  # all prefer expert 0
    [0, 1, 0, 1]
    """
    shape = ops.shape(scores)[:-1]
    scores = ops.convert_to_tensor(scores, "float32")
    scores, real = to_groups(ops.stop_gradient(scores), padding_mask)
    group_size, num_experts = ops.shape(scores)[1:]
    scores = _in_units(scores, real)
    free = int32(ops.sum(int32(real), axis=1))  # (G,)
    assigned = _auction(scores, real, free // num_experts)
    if padding_mask is not None or group_size % num_experts:
        left = ops.logical_and(real, assigned == num_experts)
        rest = _auction(scores, left, ops.minimum(free, 1))
        assigned = ops.where(left, rest, assigned)
    return ops.reshape(assigned, shape)


def _in_units(scores, real):
    """Shift and scale scores (G, S, E) to lie between -1 and 0."""
    scores = ops.where(real[..., None], scores, 0.0)
    scores = scores - ops.max(scores, axis=-1, keepdims=True)
    largest = -ops.min(scores, axis=(1, 2), keepdims=True)
    return scores / ops.where(largest > 0.0, largest, 1.0)


def _auction(scores, bidders, capacity):
    """Sell `capacity` (G,) places of each expert to `bidders` (G, S)."""
    num_experts = scores.shape[-1]
    experts = ops.arange(num_experts, dtype="int32")
    nobody = int32(num_experts)
    for_sale = capacity * num_experts
    target = ops.minimum(ops.sum(int32(bidders), axis=1), for_sale)

    def missing(choice):
        return target - ops.sum(int32(choice < nobody), axis=1)  # (G,)

    def goes_on(choice, bids, prices):
        return ops.any(missing(choice) > 0)

    def bid(choice, bids, prices):
        values = scores - prices[:, None]
        best = int32(ops.argmax(values, axis=-1))
        is_best = best[..., None] == experts
        second = ops.max(ops.where(is_best, LOWEST, values), axis=-1)
        worth = ops.max(ops.where(is_best, scores, LOWEST), axis=-1)
        # A single expert has no second best.
        offer = worth - ops.maximum(second, -2.0 - num_experts) + EPSILON
        new = ops.logical_and(bidders, choice == nobody)
        new = ops.logical_and(new, missing(choice)[:, None] > 0)
        choice = ops.where(new, best, choice)
        bids = ops.where(new, offer, bids)
        return keep_highest(choice, bids)

    def keep_highest(choice, bids):
        order = stable_argsort(-bids)
        wanted = ops.take_along_axis(choice, order, axis=1)[..., None]
        wanted = int32(wanted == experts)  # (G, S, E)
        place = ops.cumsum(wanted, axis=1, dtype="int32") * wanted
        place = ops.sum(place, axis=-1)  # From 1; 0 for no choice.
        place = ops.take_along_axis(place, invert_permutation(order), axis=1)
        choice = ops.where(place <= capacity[:, None], choice, nobody)
        held = choice[..., None] == experts
        lowest = ops.min(ops.where(held, bids[..., None], -LOWEST), axis=1)
        full = ops.sum(int32(held), axis=1) == capacity[:, None]
        return choice, bids, ops.where(full, lowest, 0.0)

    start = (
        ops.zeros_like(int32(bidders)) + nobody,
        ops.zeros_like(scores[..., 0]),
        ops.zeros_like(scores[:, 0]),
    )
    choice, _, _ = ops.while_loop(
        goes_on, bid, start, maximum_iterations=MAX_ROUNDS
    )
    return _fill(choice, bidders, capacity, experts)


def _fill(choice, bidders, capacity, experts):
    """Give bidders without a place those that are free, in order."""
    nobody = int32(experts.shape[0])
    held = ops.sum(int32(choice[..., None] == experts), axis=1)  # (G, E)
    ends = ops.cumsum(capacity[:, None] - held, axis=1, dtype="int32")
    left = ops.logical_and(bidders, choice == nobody)
    turn = ops.cumsum(int32(left), axis=1, dtype="int32")  # From 1.
    place = int32(ops.sum(int32(ends[:, None] < turn[..., None]), axis=-1))
    return ops.where(left, place, choice)
