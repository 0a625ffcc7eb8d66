"""A plan with empty experts, padding and drops, its tokens, and experts."""

from typing import NamedTuple

import numpy as np
import pytest
from keras import ops

from keras_moe.dispatch import between_devices
from keras_moe.routing import TokenChoice
from keras_moe.routing import assign_slots
from keras_moe.routing import choose_top_k
from keras_moe.routing import count_tokens

GROUPS, LENGTH, HIDDEN, EXPERTS, TOP_K = 2, 5, 3, 4, 2


class Case(NamedTuple):
    """Tokens (G, S, H) and their plan, in tensors and in NumPy."""

    tokens: np.ndarray
    plan: TokenChoice
    indices: np.ndarray  # int32 (G, S, K), before anything is dropped
    weights: np.ndarray  # float32 (G, S, K), the same
    kept: np.ndarray  # bool (G, S, K)


@pytest.fixture
def make_case():
    """Return `make(capacity=None)`; expert 2 is nobody's choice."""

    def make(capacity=None):
        rng = np.random.default_rng(0)
        logits = rng.standard_normal((GROUPS, LENGTH, EXPERTS))
        logits[..., 2] = -9.0
        mask = np.ones((GROUPS, LENGTH), bool)
        mask[0, 1] = mask[1, 3:] = False
        plan = choose_top_k(logits.astype("float32"), TOP_K, padding_mask=mask)
        plan = count_tokens(plan, EXPERTS)
        indices, weights = (ops.convert_to_numpy(each) for each in plan[:2])
        if capacity is not None:
            plan = assign_slots(plan, EXPERTS, capacity)
        kept = ops.convert_to_numpy(plan.expert_indices) < EXPERTS
        # Without a drop, or with a plan of one expert, it would prove little.
        assert capacity is None or (mask[..., None] & ~kept).any()
        tokens = rng.standard_normal((GROUPS, LENGTH, HIDDEN))
        return Case(tokens.astype("float32"), plan, indices, weights, kept)

    return make


class RecordingExperts:
    """Computes `function(rows, experts)` and remembers what it was given.

    `experts` (..., 1) names the expert of each row, -1 for rows of none.
    """

    num_experts = EXPERTS

    def __init__(self, function):
        self.function = function

    def __call__(self, rows, group_sizes=None):
        self.rows, self.group_sizes = rows, group_sizes
        return self.function(rows, self._experts(rows, group_sizes))

    def _experts(self, rows, group_sizes):
        if group_sizes is None:
            assert rows.shape[0] == self.num_experts
            return np.arange(self.num_experts)[:, None, None]
        sizes = ops.convert_to_numpy(group_sizes)
        owners = np.repeat(np.arange(self.num_experts), sizes)
        behind = np.full(rows.shape[0] - len(owners), -1)
        return np.append(owners, behind)[:, None]


@pytest.fixture
def make_experts():
    """Return `make(function)`, a bank that computes it, see above."""
    return RecordingExperts


@pytest.fixture
def sent_rows(monkeypatch):
    """Let XLA for CPU send rows; return a function that lists how many."""
    import jax

    exchange, sent = between_devices._exchange, []

    def ragged_all_to_all(operand, output, starts, sizes, *there, axis_name):
        jax.debug.callback(lambda sizes: sent.append(sizes.sum()), sizes)
        routes = starts, sizes, *there
        return by_gathering(operand, output, *routes, axis_name=axis_name)

    def counted():
        jax.effects_barrier()
        return sent

    monkeypatch.setattr(
        exchange,
        "where_rows_can_be_sent",
        lambda otherwise, send, *arrays: send(*arrays),
    )
    monkeypatch.setattr(jax.lax, "ragged_all_to_all", ragged_all_to_all)
    # Without what was compiled before.
    uncached = exchange._travel.__wrapped__
    monkeypatch.setattr(exchange, "_travel", uncached)
    return counted


def by_gathering(
    operand, output, starts, sizes, targets, arriving, *, axis_name
):
    """Do what XLA for CPU cannot, by gathering everything."""
    import jax
    import jax.numpy as jnp

    rows, starts, sizes, targets = (
        jax.lax.all_gather(each, axis_name)
        for each in (operand, starts, sizes, targets)
    )
    here = jax.lax.axis_index(axis_name)
    row = jnp.arange(operand.shape[0])
    for source in range(rows.shape[0]):
        position = row - starts[source, here]
        sent = (position >= 0) & (position < sizes[source, here])
        target = targets[source, here] + position
        target = jnp.where(sent, target, output.shape[0])
        output = output.at[target].set(rows[source], mode="drop")
    # What a device expects must be what the others send.
    return jnp.where(jnp.all(arriving == sizes[:, here]), output, jnp.nan)
