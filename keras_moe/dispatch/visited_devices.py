"""A token visits the devices of its experts, each of them once."""

import numpy as np
from keras import ops

from keras_moe.dispatch.sorted_rows import carry_sorted
from keras_moe.ops.backend import load_or
from keras_moe.ops.permute import combine_rows
from keras_moe.ops.permute import gather_rows
from keras_moe.ops.sorting import count
from keras_moe.ops.sorting import invert_permutation
from keras_moe.ops.sorting import stable_argsort
from keras_moe.ops.widen import int32
from keras_moe.ops.widen import widen
from keras_moe.routing.plans import TokenChoice

_exchange = load_or("exchange", None)


def visit_devices(tokens, plan, here, num_devices):
    """Send tokens to their experts' devices, and add up what comes back.

    One row travels there and back for each (token, device) pair, however many
    of the token's experts are there. With it go the token's choices; the
    device weighs its experts' outputs.

    Args:
        tokens: float tensor of shape (G, S, H), T in all.
        plan: `TokenChoice`.
        here: the experts of this device, called like a bank.
        num_devices: int D, each with as many experts.

    Returns:
        Tensor of shape (G, S, H); 0 for tokens that no expert saw.
    """
    *groups, hidden_dim = ops.shape(tokens)
    tokens = ops.reshape(tokens, (-1, hidden_dim))
    choices = _pack(plan)
    devices = devices_to_visit(plan, here.num_experts, num_devices)  # (T, M)
    every_row = ops.reshape(devices, (-1,))  # R = T * M
    order = stable_argsort(every_row, num_devices)
    inverse = ops.reshape(invert_permutation(order), ops.shape(devices))

    def compute(rows, choices):
        indices, weights = _unpack(choices)
        return _carry_here(rows, indices, weights, here)

    rows = _exchange.exchange_rows(
        [gather_rows(each, order, inverse) for each in (tokens, choices)],
        count(every_row, num_devices),
        compute,
        most=tokens.shape[0],
    )
    # What comes back is weighted. The sum is one in float32.
    ones = ops.ones(ops.shape(devices), "float32")
    outputs = combine_rows(rows, ones, order, inverse)
    return ops.reshape(outputs, (*groups, rows.shape[-1]))


def devices_to_visit(plan, num_experts, num_devices):
    """Name the devices that each token visits, each of them once.

    Args:
        plan: `TokenChoice` of T tokens.
        num_experts: int, those of one device.
        num_devices: int D.

    Returns:
        int32 tensor of shape (T, M), where M is the smaller one of K and D;
        D means nowhere.

    Example:

    >>> import numpy as np
    >>> indices = np.array([[0, 5, 1], [2, 8, 3]], "int32")
    >>> plan = TokenChoice(indices, np.ones((2, 3), "float32"))
    >>> devices = devices_to_visit(plan, num_experts=2, num_devices=4)
    >>> np.array(devices).tolist()
    [[0, 2, 4], [1, 4, 4]]
    """
    top_k = plan.expert_indices.shape[-1]
    indices = ops.reshape(int32(plan.expert_indices), (-1, top_k))
    devices = indices // num_experts
    if num_devices < top_k:
        return _value_or_nowhere(_one_hot(devices, num_devices))
    # (T, K, 1) == (T, 1, K) -> (T, K): named before.
    equal = ops.equal(devices[..., None], devices[..., None, :])
    before = np.tri(top_k, k=-1, dtype="bool")
    again = ops.any(ops.logical_and(equal, before), axis=-1)
    return ops.where(again, num_devices, devices)


def carry_all_here(tokens, plan, here):
    """Send all tokens to all devices, and add up what each computes for them.

    Args:
        tokens: float tensor of shape (G, S, H).
        plan: `TokenChoice`.
        here: the experts of this device, called like a bank.

    Returns:
        Tensor of shape (G, S, H); 0 for tokens that no expert saw.
    """
    tokens, indices, weights = (
        _exchange.gather_rows(each)
        for each in (tokens, plan.expert_indices, plan.combine_weights)
    )
    outputs = _carry_here(tokens, int32(indices), weights, here)
    return _exchange.add_up_rows(outputs)


def _carry_here(tokens, indices, weights, here):
    """Compute what the experts of this device add to tokens (..., H)."""
    num_experts = here.num_experts
    indices = indices - _exchange.first_expert(num_experts)
    is_here = ops.logical_and(indices >= 0, indices < num_experts)
    num_pairs = _exchange.known_number(ops.sum(ops.cast(is_here, "int32")))
    indices = ops.where(is_here, indices, num_experts)
    if num_experts < indices.shape[-1]:
        # A column for each expert: (..., K) -> (..., E / D).
        chosen = _one_hot(indices, num_experts)
        weights = ops.where(chosen, weights[..., None], 0.0)
        weights = ops.sum(weights, axis=-2)
        indices = _value_or_nowhere(chosen)
    plan = TokenChoice(indices, weights)
    return carry_sorted(tokens, plan, here, num_pairs)


def _one_hot(indices, size):
    return ops.equal(indices[..., None], ops.arange(size, dtype="int32"))


def _value_or_nowhere(chosen):
    """(..., K, N) -> (..., N): column n holds n, or N if nobody chose it."""
    size = chosen.shape[-1]
    value = ops.arange(size, dtype="int32")
    return ops.where(ops.any(chosen, axis=-2), value, size)


def _pack(plan):
    """Put a token's choices in one row: (T, 2 * K), in which 0 is nowhere.

    A buffer for rows has room for more than those that arrive, and holds 0
    there. float32 has all integers up to 2**24.
    """
    weights = widen(plan.combine_weights)
    top_k = weights.shape[-1]
    indices = ops.cast(int32(plan.expert_indices) + 1, weights.dtype)
    packed = ops.concatenate([indices, weights], axis=-1)
    return ops.reshape(packed, (-1, 2 * top_k))


def _unpack(choices):
    indices, weights = ops.split(choices, 2, axis=-1)
    return int32(indices) - 1, weights
