"""A token travels to each device of its experts once.

Devices are simulated here, one after the other; `test_between_devices.py` has
those of JAX, `tests/integration/test_replicas.py` processes of PyTorch.
"""

import math

import numpy as np
import pytest
from keras import ops

from keras_moe.dispatch import visited_devices
from keras_moe.dispatch.visited_devices import devices_to_visit
from keras_moe.dispatch.visited_devices import visit_devices
from keras_moe.ops import grouped_matmul
from keras_moe.routing import ExpertGroups
from keras_moe.routing import TokenChoice
from keras_moe.routing import choose_top_k

# JAX would compile each operation; it runs the whole in one program, there.
pytestmark = pytest.mark.once

HIDDEN = 3


class DevicesInTurn:
    """An exchange of one process: its own tokens visit all devices."""

    def __init__(self, num_devices, knows_numbers):
        self.num_devices, self.device = num_devices, 0
        self.knows_numbers, self.rooms = knows_numbers, []

    def first_expert(self, num_experts):
        return self.device * num_experts

    def known_number(self, number):
        return int(number) if self.knows_numbers else None

    def exchange_rows(self, arrays, sizes, compute, most):
        self.sizes = ops.convert_to_numpy(sizes).tolist()
        assert max(self.sizes) <= most
        starts = np.cumsum(self.sizes) - self.sizes
        position = np.arange(most)
        there = np.full(arrays[0].shape[0], self.num_devices * most)
        outputs = []
        for device, size in enumerate(self.sizes):
            self.device = device
            row = np.minimum(starts[device] + position, len(there) - 1)
            there[row[:size]] = device * most + position[:size]
            # Behind the rows that arrive there are zeros, as on JAX.
            is_row = (position < size)[:, None]
            arrived = [
                ops.where(is_row, ops.take(rows, row, axis=0), 0)
                for rows in arrays
            ]
            outputs.append(compute(*arrived))
        outputs.append(ops.zeros((1, HIDDEN), outputs[0].dtype))
        return ops.take(ops.concatenate(outputs), there, axis=0)


class Experts:
    """Those of the device whose turn it is."""

    def __init__(self, exchange, kernels):
        self.num_experts = kernels.shape[0] // exchange.num_devices
        self._exchange, self._kernels = exchange, kernels

    def __call__(self, rows, group_sizes):
        self._exchange.rooms.append(rows.shape[0])
        first = self._exchange.first_expert(self.num_experts)
        kernels = ops.take(
            self._kernels, first + np.arange(self.num_experts), axis=0
        )
        kernels = ops.cast(kernels, rows.dtype)
        return ops.tanh(grouped_matmul(rows, kernels, group_sizes))


@pytest.fixture
def visit(monkeypatch):
    """Return `visit(tokens, plan, kernels, D)`: outputs, and the exchange."""

    def run(tokens, plan, kernels, num_devices, knows_numbers=False):
        exchange = DevicesInTurn(num_devices, knows_numbers)
        monkeypatch.setattr(visited_devices, "_exchange", exchange)
        experts = Experts(exchange, kernels)
        outputs = visit_devices(tokens, plan, experts, num_devices)
        return outputs, exchange

    return run


def by_formula(tokens, indices, weights, kernels):
    """Compute every expert for every token."""
    each = ops.arange(kernels.shape[0], dtype="int32")
    chosen = ops.cast(indices[..., None] == each, "float32")  # (G, S, K, E)
    weights = ops.sum(chosen * weights[..., None], axis=2)
    outputs = ops.tanh(ops.einsum("gsh,ehi->gsei", tokens, kernels))
    return ops.einsum("gse,gsei->gsi", weights, outputs)


@pytest.mark.parametrize("knows_numbers", [False, True])
@pytest.mark.parametrize(
    ("num_experts", "num_devices", "top_k"),
    [
        (6, 3, 4),  # More choices than devices, and than experts on each.
        (8, 4, 2),
        (8, 2, 4),
        (4, 4, 3),
        (3, 3, 1),
    ],
)
def test_outputs_and_gradients_are_those_of_the_formula(
    num_experts, num_devices, top_k, knows_numbers, visit, vjp
):
    rng = np.random.default_rng(0)
    tokens, cotangent = rng.normal(size=(2, 2, 5, HIDDEN)).astype("float32")
    kernels = rng.normal(size=(num_experts, HIDDEN, HIDDEN)).astype("float32")
    weights = rng.uniform(size=(2, 5, top_k)).astype("float32")
    indices = rng.random((2, 5, num_experts)).argsort()[..., :top_k]
    indices = indices.astype("int32")
    # Padding, a dropped pair, and all choices of one expert.
    indices[0, 1] = indices[1, 0, 0] = num_experts
    indices[1, 2] = num_experts - 1

    def visited(tokens, weights, kernels):
        plan = TokenChoice(indices, weights)
        return visit(tokens, plan, kernels, num_devices, knows_numbers)[0]

    def formula(tokens, weights, kernels):
        return by_formula(tokens, indices, weights, kernels)

    arrays = (tokens, weights, kernels)
    value, gradients = vjp(visited, arrays, cotangent)
    expected, expected_gradients = vjp(formula, arrays, cotangent)
    assert not value[0, 1].any()
    # Sums of up to 40 float32 numbers below 10, in another order.
    for found, wanted in zip(
        [value, *gradients], [expected, *expected_gradients], strict=True
    ):
        np.testing.assert_allclose(found, wanted, atol=2e-6)


def test_a_row_travels_for_each_device_not_for_each_expert(visit):
    # The first token has three experts on device 0; the last is padding.
    indices = np.array([[[0, 1, 2], [3, 4, 7], [8, 8, 8]]], "int32")
    plan = TokenChoice(indices, np.ones((1, 3, 3), "float32"))
    kernels = np.ones((8, HIDDEN, HIDDEN), "float32")
    tokens = np.ones((1, 3, HIDDEN), "float32")
    exchange = visit(tokens, plan, kernels, 2)[1]
    assert exchange.sizes == [2, 1]
    # Any of three tokens may have come, with three experts here.
    assert exchange.rooms == [9, 9]
    exchange = visit(tokens, plan, kernels, 4)[1]
    assert exchange.sizes == [1, 2, 1, 1]
    # With two here, its third has no room.
    assert exchange.rooms == [6, 6, 6, 6]


def test_rows_that_are_known_to_be_nobodys_have_no_room(visit):
    indices = np.array([[[0, 1, 2], [3, 4, 7], [8, 8, 8]]], "int32")
    plan = TokenChoice(indices, np.ones((1, 3, 3), "float32"))
    kernels = np.ones((8, HIDDEN, HIDDEN), "float32")
    tokens = np.ones((1, 3, HIDDEN), "float32")
    exchange = visit(tokens, plan, kernels, 2, knows_numbers=True)[1]
    # Four pairs and two, and a row that the others share.
    assert exchange.rooms == [5, 3]


def test_what_stands_in_padding_reaches_no_other_token(visit):
    indices = np.array([[[0, 3], [4, 4], [1, 2]]], "int32")
    plan = TokenChoice(indices, np.ones((1, 3, 2), "float32"))
    kernels = np.ones((4, HIDDEN, HIDDEN), "float32")
    tokens = np.ones((1, 3, HIDDEN), "float32")
    tokens[0, 1] = np.nan
    outputs = visit(tokens, plan, kernels, num_devices=2)[0]
    outputs = ops.convert_to_numpy(outputs)
    # Two experts, each with the hyperbolic tangent of 3.
    np.testing.assert_allclose(outputs[0, [0, 2]], 2 * np.tanh(3), rtol=1e-6)
    assert not outputs[0, 1].any()


def test_half_precision_is_added_up_in_single(visit):
    # Each device returns w * tanh(3) in bfloat16; four of these are added up
    # in float32 and rounded once.
    indices = np.arange(4, dtype="int32").reshape(1, 1, 4)
    weights = np.array([[[0.5, 2**-8, 2**-8, 2**-8]]], "float32")
    kernels = np.ones((4, HIDDEN, HIDDEN), "float32")
    tokens = ops.ones((1, 1, HIDDEN), "bfloat16")
    outputs, _ = visit(tokens, TokenChoice(indices, weights), kernels, 4)
    assert outputs.dtype == tokens.dtype
    expected = ops.convert_to_numpy(
        ops.cast(ops.tanh(ops.cast(3.0, "bfloat16")), "float32")
    ) * np.sum(weights)
    # One by one in bfloat16, the small ones would be lost: 2e-2 of it.
    np.testing.assert_allclose(
        ops.convert_to_numpy(ops.cast(outputs, "float32")),
        np.full((1, 1, HIDDEN), expected),
        rtol=2**-8,
    )


@pytest.mark.parametrize("num_limited", [None, 4, 2])
def test_groups_bound_the_devices_that_a_token_visits(num_limited):
    # A group is a device: 64 experts on 8 of them, 8 for each token.
    logits = np.random.default_rng(0).normal(size=(2000, 64)).astype("float32")
    groups = num_limited and ExpertGroups(8, num_limited, score="top2_sum")
    plan = choose_top_k(logits, 8, "sigmoid", expert_groups=groups)
    devices = ops.convert_to_numpy(devices_to_visit(plan, 8, 8))
    visits = np.sum(devices < 8, axis=-1)
    chosen = ops.convert_to_numpy(plan.expert_indices) // 8
    np.testing.assert_array_equal(visits, [len({*each}) for each in chosen])
    assert visits.max() <= (num_limited or 8)
    if num_limited is None:
        # The chance that none of 8 random experts of 64 is on a device; the
        # mean of 2,000 tokens has a standard deviation below 0.03.
        missed = math.comb(56, 8) / math.comb(64, 8)
        assert abs(visits.mean() - 8 * (1 - missed)) < 0.1
