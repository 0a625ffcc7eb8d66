"""What all rules that balance by a loss have in common."""

from keras_moe.balancing.balancing_rule import BalancingRule
from keras_moe.ops.plain_numbers import to_plain
from keras_moe.routing.validation import check_not_negative


class LossRule(BalancingRule):
    """Adds a weighted loss of each router's plan.

    Abstract: a subclass overrides `loss`, and `get_config` if it has further
    arguments.

    Args:
        weight: float; 0 turns the loss off.

    Example:

    >>> import keras
    >>> @keras.saving.register_keras_serializable("my_package")
    ... class SmallLogits(LossRule):
    ...     def loss(self, plan):
    ...         return keras.ops.mean(plan.scores.logits ** 2)
    >>> SmallLogits(weight=0.1).weight
    0.1
    """

    def __init__(self, weight):
        self.weight = to_plain(weight)
        check_not_negative(weight=self.weight)

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
        return {"weight": self.weight}
