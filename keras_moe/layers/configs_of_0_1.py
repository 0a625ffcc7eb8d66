"""Configurations of version 0.1, read as what they are now."""

from keras_moe.balancing.balancing_rule import BalancingRule
from keras_moe.balancing.expert_bias import ExpertBias
from keras_moe.balancing.load_balancing_loss import LoadBalancingLoss
from keras_moe.balancing.router_z_loss import RouterZLoss
from keras_moe.routing.capacity import Capacity
from keras_moe.routing.combine_weights import CombineWeights
from keras_moe.routing.expert_groups import ExpertGroups


def router_config(config):
    """Translate the configuration of a `TopKRouter`.

    Args:
        config: dict from `get_config`, of any version.

    Returns:
        dict of constructor arguments.

    Example:

    >>> config = {"num_experts": 8, "load_balancing_loss_weight": 0.0}
    >>> router_config(config)["balancing"]
    []
    """
    config = dict(config)
    if "load_balancing_loss_weight" not in config:
        return config
    balancing: list[BalancingRule] = []
    rate = config.pop("expert_bias_update_rate", 0.0)
    if config.pop("use_expert_bias", False):
        balancing.append(ExpertBias(rate))
    if weight := config.pop("load_balancing_loss_weight"):
        balancing.append(LoadBalancingLoss(weight))
    if weight := config.pop("router_z_loss_weight", 0.0):
        balancing.append(RouterZLoss(weight))
    num_groups = config.pop("num_expert_groups", None)
    num_limited = config.pop("num_limited_groups", None)
    group_score = config.pop("group_score", "max")
    if num_groups is not None:
        config["expert_groups"] = ExpertGroups(
            num_groups, num_limited, group_score
        )
    config["combine_weights"] = CombineWeights(
        config.pop("normalize_combine_weights", None),
        config.pop("combine_weights_power", 1.0),
        config.pop("route_scale", 1.0),
    )
    return {**config, "balancing": balancing}


def sparse_moe_config(config):
    """Translate the configuration of a `SparseMoE` or `SharedExpertMoE`.

    Args:
        config: dict from `get_config`, of any version.

    Returns:
        dict of constructor arguments; a capacity has moved to the router.

    Example:

    >>> sparse_moe_config({"dispatcher": "capacity"})
    {'strategy': 'slots'}
    """
    config = dict(config)
    if "dispatcher" not in config:
        return config
    strategy = config.pop("dispatcher")
    config["strategy"] = "slots" if strategy == "capacity" else strategy
    capacity = Capacity(
        config.pop("capacity_factor", None),
        config.pop("eval_capacity_factor", None),
        config.pop("expert_capacity", None),
        config.pop("priority", "position"),
    )
    router = config.get("router")
    if router is not None and capacity != Capacity():
        inner = {**router["config"], "capacity": capacity}
        config["router"] = {**router, "config": inner}
    return config
