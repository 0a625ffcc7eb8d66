"""Which balancing rules an argument means."""

import keras

from keras_moe.balancing.balancing_rule import BalancingRule
from keras_moe.balancing.communication_balancing_loss import (
    CommunicationBalancingLoss,
)
from keras_moe.balancing.device_balancing_loss import DeviceBalancingLoss
from keras_moe.balancing.expert_bias import ExpertBias
from keras_moe.balancing.importance_loss import ImportanceLoss
from keras_moe.balancing.load_balancing_loss import LoadBalancingLoss
from keras_moe.balancing.load_loss import LoadLoss
from keras_moe.balancing.mean_entropy_loss import MeanEntropyLoss
from keras_moe.balancing.pooled_load_balancing_loss import (
    PooledLoadBalancingLoss,
)
from keras_moe.balancing.quantile_bias import QuantileBias
from keras_moe.balancing.router_z_loss import RouterZLoss
from keras_moe.balancing.token_entropy_loss import TokenEntropyLoss

# Every rule that a name stands for. Each class has a `source`, one line.
RULES = {
    "load_balancing_loss": LoadBalancingLoss,
    "pooled_load_balancing_loss": PooledLoadBalancingLoss,
    "device_balancing_loss": DeviceBalancingLoss,
    "communication_balancing_loss": CommunicationBalancingLoss,
    "importance_loss": ImportanceLoss,
    "load_loss": LoadLoss,
    "mean_entropy_loss": MeanEntropyLoss,
    "token_entropy_loss": TokenEntropyLoss,
    "router_z_loss": RouterZLoss,
    "expert_bias": ExpertBias,
    "quantile_bias": QuantileBias,
}
# What a router has unless it is told otherwise.
DEFAULT = ("load_balancing_loss", "router_z_loss")


def get_rules(balancing):
    """Look up the rules that an argument `balancing=` means.

    Args:
        balancing: a `BalancingRule`, its name, or its serialized form; a list
            of these; or `None`.

    Returns:
        list of `BalancingRule`.

    Raises:
        ValueError: If a name is unknown, an entry is no rule, or a kind of
            rule comes twice.

    Example:

    >>> [type(rule).__name__ for rule in get_rules("router_z_loss")]
    ['RouterZLoss']
    """
    if balancing is None:
        return []
    if isinstance(balancing, (list, tuple)):
        rules = [_get_rule(each) for each in balancing]
    else:
        rules = [_get_rule(balancing)]
    kinds = [type(rule) for rule in rules]
    if len(set(kinds)) < len(kinds):
        names = [kind.__name__ for kind in kinds]
        raise ValueError(
            "Expected one balancing rule of each kind. Received: "
            f"balancing={names}. Leave one out."
        )
    return rules


def _get_rule(identifier):
    if isinstance(identifier, dict):
        identifier = keras.saving.deserialize_keras_object(identifier)
    if isinstance(identifier, BalancingRule):
        return identifier
    if isinstance(identifier, str) and identifier in RULES:
        return RULES[identifier]()
    raise ValueError(
        f"Expected `balancing` to be of {sorted(RULES)}, a "
        "`keras_moe.balancing.BalancingRule`, a list of these, or None. "
        f"Received: {identifier!r}."
    )
