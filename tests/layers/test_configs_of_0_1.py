"""Configurations of version 0.1, read as what they are now."""

import pytest

from keras_moe.balancing import ExpertBias
from keras_moe.balancing import LoadBalancingLoss
from keras_moe.balancing import RouterZLoss
from keras_moe.layers import SharedExpertMoE
from keras_moe.layers import SparseMoE
from keras_moe.layers import TopKRouter
from keras_moe.layers.configs_of_0_1 import router_config
from keras_moe.layers.configs_of_0_1 import sparse_moe_config
from keras_moe.routing import Capacity
from keras_moe.routing import CombineWeights
from keras_moe.routing import ExpertGroups

pytestmark = pytest.mark.once

# As `get_config` of version 0.1 returned them, without what is the same now.
ROUTER = {
    "name": "router",
    "num_experts": 4,
    "top_k": 2,
    "score_function": "sigmoid",
    "normalize_combine_weights": True,
    "combine_weights_power": 2.0,
    "route_scale": 2.5,
    "use_expert_bias": True,
    "expert_bias_update_rate": 0.5,
    "num_expert_groups": 2,
    "num_limited_groups": 1,
    "group_score": "top2_sum",
    "jitter_noise": 0.125,
    "load_balancing_loss_weight": 0.25,
    "router_z_loss_weight": 0.0625,
    "kernel_regularizer": None,
    "seed": 3,
}
DEFAULT_ROUTER = {
    "name": "router",
    "num_experts": 4,
    "top_k": 2,
    "score_function": "softmax",
    "normalize_combine_weights": None,
    "combine_weights_power": 1.0,
    "route_scale": 1.0,
    "use_expert_bias": False,
    "expert_bias_update_rate": 0.0,
    "num_expert_groups": None,
    "num_limited_groups": None,
    "group_score": "max",
    "jitter_noise": 0.0,
    "load_balancing_loss_weight": 0.01,
    "router_z_loss_weight": 0.001,
    "kernel_regularizer": None,
    "seed": None,
}


def serialized(router):
    return {
        "module": "keras_moe.layers.top_k_router",
        "class_name": "TopKRouter",
        "config": router,
        "registered_name": "keras_moe>TopKRouter",
    }


def sparse_config(router=DEFAULT_ROUTER, **changes):
    return {
        "name": "sparse",
        "num_experts": 4,
        "intermediate_dim": 8,
        "top_k": 2,
        "activation": "silu",
        "router": serialized(router),
        "capacity_factor": None,
        "eval_capacity_factor": None,
        "expert_capacity": None,
        "gated": True,
        "priority": "position",
        "dispatcher": "auto",
        "implementation": "auto",
        "kernel_regularizer": None,
        **changes,
    }


def weights_and_rates(rules):
    return {
        type(rule): getattr(rule, "rate", None) or getattr(rule, "weight", None)
        for rule in rules
    }


def test_every_argument_of_a_router_arrives_where_it_is_now():
    before = dict(ROUTER)
    router = TopKRouter.from_config(ROUTER)
    assert before == ROUTER  # It is the caller's.
    assert weights_and_rates(router.balancing) == {
        ExpertBias: 0.5,
        LoadBalancingLoss: 0.25,
        RouterZLoss: 0.0625,
    }
    assert router.combine_weights == CombineWeights(True, 2.0, 2.5)
    assert router.expert_groups == ExpertGroups(2, 1, "top2_sum")
    assert router.capacity is None
    assert (router.num_experts, router.top_k, router.seed) == (4, 2, 3)
    assert (router.score_function, router.jitter_noise) == ("sigmoid", 0.125)
    assert router.name == "router"


def test_the_defaults_of_then_are_those_of_now():
    router = TopKRouter.from_config(DEFAULT_ROUTER)
    assert router.get_config() == TopKRouter(4, name="router").get_config()


def test_a_weight_of_zero_and_a_bias_that_is_off_give_no_rule():
    off = {
        "load_balancing_loss_weight": 0.0,
        "router_z_loss_weight": 0.0,
        "use_expert_bias": False,
    }
    assert router_config({**ROUTER, **off})["balancing"] == []
    # A bias that is only read, as in a published model.
    frozen = {**off, "use_expert_bias": True, "expert_bias_update_rate": 0.0}
    (rule,) = router_config({**ROUTER, **frozen})["balancing"]
    assert type(rule) is ExpertBias
    assert rule.rate == 0.0


def test_configurations_of_now_stay_as_they_are():
    config = TopKRouter(4, balancing="expert_bias").get_config()
    assert router_config(config) == config
    config = SparseMoE(4, 8, capacity=Capacity(1.0)).get_config()
    assert sparse_moe_config(config) == config


@pytest.mark.parametrize(
    ("then", "now"),
    [
        ("auto", "auto"),
        ("sorted", "sorted"),
        ("capacity", "slots"),
        ("dense", "dense"),
    ],
)
def test_a_dispatcher_is_a_strategy(then, now):
    layer = SparseMoE.from_config(sparse_config(dispatcher=then))
    assert layer.strategy == now
    assert layer.router.capacity is None
    expected = SparseMoE(4, 8, strategy=now, name="sparse").get_config()
    assert layer.get_config() == expected


@pytest.mark.parametrize(
    ("then", "now"),
    [
        (
            {
                "capacity_factor": 1.5,
                "eval_capacity_factor": 2.0,
                "priority": "score",
            },
            Capacity(1.5, 2.0, priority="score"),
        ),
        ({"expert_capacity": 3}, Capacity(slots=3)),
    ],
)
def test_a_capacity_is_the_routers(then, now):
    config = sparse_config(ROUTER, **then)
    layer = SparseMoE.from_config(config)
    assert layer.router.capacity == now
    assert layer.router.score_function == "sigmoid"
    assert "capacity" not in config["router"]["config"]
    # Saved again, it is a configuration of now.
    again = SparseMoE.from_config(layer.get_config())
    assert again.router.capacity == now
    assert again.get_config() == layer.get_config()


def test_a_layer_with_shared_experts_is_read_as_well():
    layer = SharedExpertMoE.from_config(
        sparse_config(
            ROUTER,
            capacity_factor=1.5,
            dispatcher="capacity",
            num_shared_experts=2,
            shared_intermediate_dim=None,
            use_shared_expert_gate=True,
        )
    )
    assert layer.routed_experts.strategy == "slots"
    assert layer.routed_experts.router.capacity == Capacity(1.5)
    assert layer.routed_experts.router.expert_groups.num_limited == 1
    assert layer.num_shared_experts == 2
    assert layer.use_shared_expert_gate is True
