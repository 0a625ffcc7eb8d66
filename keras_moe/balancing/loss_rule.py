"""What all rules that balance by a loss have in common."""

from keras_moe.balancing.balancing_rule import BalancingRule
from keras_moe.ops.plain_numbers import to_plain
from keras_moe.routing.validation import check_not_negative

SCOPES = ("batch", "replica")


class LossRule(BalancingRule):
    """Adds a weighted loss of each router's plan.

    Abstract: a subclass overrides `loss`, and `get_config` if it has further
    arguments.

    Args:
        weight: float; 0 turns the loss off.
        scope: `"batch"`: the loss is that of the tokens of all replicas
            (`torch.distributed`, `tf.distribute`), as on one device
            (the global-batch loss of Qiu et al., 2025,
            https://arxiv.org/abs/2501.11873). `"replica"`: each replica
            balances its own tokens, and the gradients are averaged; nothing
            is exchanged. No difference on JAX, where there is one replica.

    Raises:
        ValueError: If the weight is negative, or `scope` unknown.

    Example:

    >>> import keras
    >>> @keras.saving.register_keras_serializable("my_package")
    ... class SmallLogits(LossRule):
    ...     def loss(self, plan):
    ...         return keras.ops.mean(plan.scores.logits ** 2)
    >>> SmallLogits(weight=0.1).weight
    0.1
    """

    def __init__(self, weight, scope="batch"):
        self.weight = to_plain(weight)
        check_not_negative(weight=self.weight)
        check_scope(scope)
        self.scope = scope

    def loss(self, plan):
        """Compute the loss, not weighted.

        Args:
            plan: what the router chose, before anything is dropped.

        Returns:
            float32 scalar.
        """
        raise NotImplementedError

    def __call__(self, plan):
        return self.weight * self.loss(plan) if self.weight else None

    def get_config(self):
        return {"weight": self.weight, **config_of_scope(self.scope)}


def check_scope(scope):
    """Raise unless `scope` says whose tokens a loss is about.

    Args:
        scope: the name to check.

    Raises:
        ValueError: If it is unknown; the message lists the known ones.

    Example:

    >>> check_scope("replica")
    """
    if scope not in SCOPES:
        raise ValueError(
            f"Expected `scope` to be one of {list(SCOPES)}. "
            f"Received: scope={scope!r}."
        )


def config_of_scope(scope):
    """Return what a configuration says of a scope.

    Args:
        scope: `"batch"` or `"replica"`.

    Returns:
        dict, empty for the default: subclasses need not know the argument.

    Example:

    >>> config_of_scope("batch"), config_of_scope("replica")
    ({}, {'scope': 'replica'})
    """
    return {} if scope == "batch" else {"scope": scope}
