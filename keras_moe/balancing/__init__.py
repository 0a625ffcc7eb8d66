"""Rules that keep the experts equally busy."""

from keras_moe.balancing.balancing_rule import BalancingRule
from keras_moe.balancing.communication_balancing_loss import (
    CommunicationBalancingLoss,
)
from keras_moe.balancing.device_balancing_loss import DeviceBalancingLoss
from keras_moe.balancing.expert_bias import ExpertBias
from keras_moe.balancing.get_rules import get_rules
from keras_moe.balancing.importance_loss import ImportanceLoss
from keras_moe.balancing.load_balancing_loss import LoadBalancingLoss
from keras_moe.balancing.load_loss import LoadLoss
from keras_moe.balancing.loss_rule import LossRule
from keras_moe.balancing.mean_entropy_loss import MeanEntropyLoss
from keras_moe.balancing.pooled_load_balancing_loss import (
    PooledLoadBalancingLoss,
)
from keras_moe.balancing.pooled_rule import PooledRule
from keras_moe.balancing.quantile_bias import QuantileBias
from keras_moe.balancing.router_z_loss import RouterZLoss
from keras_moe.balancing.selection_bias import SelectionBias
from keras_moe.balancing.token_entropy_loss import TokenEntropyLoss

__all__ = [
    "BalancingRule",
    "CommunicationBalancingLoss",
    "DeviceBalancingLoss",
    "ExpertBias",
    "ImportanceLoss",
    "LoadBalancingLoss",
    "LoadLoss",
    "LossRule",
    "MeanEntropyLoss",
    "PooledLoadBalancingLoss",
    "PooledRule",
    "QuantileBias",
    "RouterZLoss",
    "SelectionBias",
    "TokenEntropyLoss",
    "get_rules",
]
