"""What the rules for groups of experts have in common."""

from keras_moe.balancing.loss_rule import LossRule
from keras_moe.routing.validation import check_positive


class ExpertGroupRule(LossRule):
    """Adds a loss of groups of experts, such as those on one device.

    Abstract: a subclass overrides `loss`.

    Args:
        weight: float; 0 turns the loss off.
        num_groups: optional int D. `None` means that of the router's
            `expert_groups`.
        per_sequence: bool, whether each row of the batch is balanced by
            itself.
        scope: `"batch"`, or `"replica"`, as for `LossRule`.

    Example:

    >>> from keras_moe.balancing import DeviceBalancingLoss
    >>> from keras_moe.layers import TopKRouter
    >>> from keras_moe.routing import ExpertGroups
    >>> rule = DeviceBalancingLoss()
    >>> router = TopKRouter(
    ...     8, expert_groups=ExpertGroups(4, 2), balancing=rule)
    >>> router.build((None, 16))
    >>> rule.num_groups
    4
    """

    def __init__(
        self, weight, num_groups=None, per_sequence=True, scope="batch"
    ):
        super().__init__(weight, scope)
        if num_groups is not None:
            check_positive(num_groups=num_groups)
        self.num_groups = num_groups
        self.per_sequence = per_sequence

    def build(self, router):
        groups = getattr(router, "expert_groups", None)
        if self.num_groups is None and groups is not None:
            self.num_groups = groups.num_groups
        if self.num_groups is None:
            raise ValueError(
                f"Expected `{type(self).__name__}` to know the groups of "
                f"experts. Received: num_groups=None, and a "
                f"{type(router).__name__} without groups. Give the rule "
                "`num_groups=`, or the router `expert_groups=`."
            )
        if router.num_experts % self.num_groups:
            raise ValueError(
                "Expected `num_groups` to divide the number of experts. "
                f"Received: num_groups={self.num_groups}, "
                f"num_experts={router.num_experts}. Choose a divisor."
            )

    def get_config(self):
        return {
            **super().get_config(),
            "num_groups": self.num_groups,
            "per_sequence": self.per_sequence,
        }
