"""Rules that keep the experts equally busy."""

from keras_moe.balancing.balancing_rule import BalancingRule
from keras_moe.balancing.expert_bias import ExpertBias
from keras_moe.balancing.get_rules import get_rules
from keras_moe.balancing.load_balancing_loss import LoadBalancingLoss
from keras_moe.balancing.pooled_load_balancing_loss import (
    PooledLoadBalancingLoss,
)
from keras_moe.balancing.pooled_rule import PooledRule
from keras_moe.balancing.router_z_loss import RouterZLoss

__all__ = [
    "BalancingRule",
    "ExpertBias",
    "LoadBalancingLoss",
    "PooledLoadBalancingLoss",
    "PooledRule",
    "RouterZLoss",
    "get_rules",
]
