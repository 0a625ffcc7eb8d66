"""The benchmark of routers runs, in a small setting."""

import importlib
from argparse import Namespace

import keras
import pytest

from keras_moe.balancing import ExpertBias
from keras_moe.balancing.get_rules import RULES
from keras_moe.layers import ROUTERS
from keras_moe.layers import SparseMoE
from keras_moe.layers import TopKRouter

SIZES = Namespace(
    rounds=1,
    num_experts=8,
    top_k=2,
    tokens=16,
    hidden_dim=4,
    intermediate_dim=2,
    training=False,
    cpu_time=False,
)


def labels(table, count):
    lines = table.splitlines()[2 : 2 + count]
    return [line.split("|")[1].strip() for line in lines]


@pytest.mark.once
@pytest.mark.parametrize("rows", [False, True])
def test_the_table_has_a_row_for_each_router(rows):
    routers = importlib.import_module("routers")
    made = routers.savings(SIZES) if rows else routers.kinds(SIZES)
    assert labels(routers.table(SIZES, made), len(made)) == list(made)
    assert rows or list(made) == list(ROUTERS)


@pytest.mark.sweep
@pytest.mark.parametrize(
    "rules", [["none", "expert_bias"], ["none", "none, with noise", *RULES]]
)
def test_the_table_has_a_row_for_each_rule(rules):
    routers = importlib.import_module("routers")
    every = routers.rules(SIZES)
    assert set(rules) <= set(every)
    made = {name: every[name] for name in rules}
    assert labels(routers.table(SIZES, made, True), len(made)) == rules


def test_a_gradient_step_moves_state_and_gives_gradients_on_every_backend(
    backend,
):
    layer_steps = importlib.import_module("layer_steps")
    router = TopKRouter(4, 1, balancing=[ExpertBias(0.5), "router_z_loss"])
    layer = SparseMoE(4, 3, router=router)
    tokens = keras.random.normal((1, 8, 5), seed=1)
    layer(tokens)
    before = keras.ops.convert_to_numpy(router.expert_bias).tolist()
    results = layer_steps.gradient_step(layer, tokens)()
    if backend == "jax":
        # State is a value there: what the step returned is the new one.
        (loss, rest), (kernels, inputs) = results
        assert float(loss) > 0.0
        assert all(float(abs(each).max()) > 0.0 for each in [inputs, *kernels])
        assert any(each.shape == (4,) and abs(each).max() > 0 for each in rest)
        return
    after = keras.ops.convert_to_numpy(router.expert_bias).tolist()
    assert after != before
