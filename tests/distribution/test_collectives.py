"""What travels between devices in a compiled training step."""

import math
import re

import keras
import numpy as np
import pytest
from keras import ops

from keras_moe.distribution import ExpertParallel
from keras_moe.layers import SparseMoE
from keras_moe.layers import TopKRouter
from keras_moe.routing import Capacity
from keras_moe.routing import ExpertGroups

COLLECTIVE = re.compile(
    r" = (?P<arrays>.*?) (?P<name>all-to-all|all-gather|all-reduce"
    r"|reduce-scatter|collective-permute|collective-broadcast)(-start)?\("
)
BATCH, LENGTH, HIDDEN_DIM, NUM_EXPERTS, INTERMEDIATE_DIM = 16, 32, 16, 8, 24


def collectives_of(distribution, **arguments):
    """List name and number of elements, a device's, of each collective."""
    import jax

    keras.distribution.set_distribution(distribution)
    layer = SparseMoE(NUM_EXPERTS, INTERMEDIATE_DIM, **arguments)
    shape = (BATCH, LENGTH, HIDDEN_DIM)
    layer.build(shape)
    others = [each.value for each in layer.non_trainable_variables]

    def loss(weights, inputs):
        outputs, _, losses = layer.stateless_call(
            weights, others, inputs, training=True, return_losses=True
        )
        return ops.sum(outputs**2) + sum(losses)

    weights = [each.value for each in layer.trainable_variables]
    layout = distribution.get_data_layout(shape)
    inputs = keras.distribution.distribute_tensor(np.zeros(shape), layout)
    gradient = jax.jit(
        jax.grad(loss, (0, 1)),
        out_shardings=([each.sharding for each in weights], inputs.sharding),
    )
    program = gradient.lower(weights, inputs).compile().as_text()
    return [
        (found["name"], elements(found["arrays"]))
        for found in COLLECTIVE.finditer(program)
    ]


def elements(arrays):
    return sum(
        math.prod(map(int, filter(None, shape.split(","))))
        for shape in re.findall(r"\[([\d,]*)\]", arrays)
    )


@pytest.mark.multi_device
def test_with_a_capacity_buffers_travel_four_times_and_nothing_else_does():
    found = collectives_of(ExpertParallel(2, 4), capacity=Capacity(factor=1.25))
    # Of 2 groups a device: ceil(1.25 * 32 * 2 / 8) = 10 slots of 8 experts.
    buffers = 2 * 8 * 10 * HIDDEN_DIM
    travels = [size for name, size in found if name == "all-to-all"]
    assert travels == [buffers] * 4
    # Besides, gradients and the losses' sums are added up.
    assert {name for name, _ in found} == {"all-to-all", "all-reduce"}
    own_experts = NUM_EXPERTS // 4 * 3 * HIDDEN_DIM * INTERMEDIATE_DIM
    router = HIDDEN_DIM * NUM_EXPERTS
    sums = 4 * NUM_EXPERTS
    reduced = sum(size for name, size in found if name == "all-reduce")
    assert own_experts + router <= reduced <= own_experts + router + sums


@pytest.mark.exhaustive
@pytest.mark.multi_device
def test_groups_of_experts_are_chosen_where_the_rows_are():
    groups = ExpertGroups(num_groups=4, num_limited=2, score="top2_sum")
    router = TopKRouter(
        NUM_EXPERTS, capacity=Capacity(factor=1.25), expert_groups=groups
    )
    found = collectives_of(ExpertParallel(2, 4), router=router)
    assert {name for name, _ in found} == {"all-to-all", "all-reduce"}


@pytest.mark.exhaustive
@pytest.mark.multi_device
def test_with_all_experts_on_every_device_no_token_travels():
    found = collectives_of(ExpertParallel(8, 1))
    assert {name for name, _ in found} == {"all-reduce"}
