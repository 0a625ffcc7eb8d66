"""What the rules that balance by a bias of the choice have in common."""

from keras import ops

from keras_moe.balancing.balancing_rule import BalancingRule
from keras_moe.balancing.step_sum import StepSum
from keras_moe.ops.plain_numbers import to_plain
from keras_moe.routing.validation import check_not_negative


class SelectionBias(BalancingRule):
    """Adds a bias to the scores for the choice, and moves it.

    The bias takes part in the choice, not in the weights, and no gradient
    trains it. It moves once per optimizer step, by what is added up over the
    step's batch: over all micro-batches under gradient accumulation, and all
    replicas of `torch.distributed` or `tf.distribute`. It is
    `router.expert_bias`, float32 of shape (E,), and is saved with the weights.

    Abstract: a subclass overrides `summands` and `step`.

    Args:
        rate: float, by how much it moves. 0 leaves the bias as it is, and so
            does freezing the router (`trainable = False`).

    Example:

    >>> from keras_moe.balancing import ExpertBias
    >>> isinstance(ExpertBias(), SelectionBias)
    True
    """

    evens_load = True

    def __init__(self, rate):
        self.rate = to_plain(rate)
        check_not_negative(rate=self.rate)

    def summands(self, plan, router):
        """Compute what is added up over an optimizer step.

        Args:
            plan: what the router chose, before anything is dropped.
            router: `keras_moe.layers.Router`.

        Returns:
            float32 tensor of shape (E,), or (E + 1,) if `num_sums` says so.
        """
        raise NotImplementedError

    def step(self, sums):
        """Compute by how much the bias moves.

        Args:
            sums: float32 tensor, what `summands` returned, added up.

        Returns:
            float32 tensor of shape (E,), to be multiplied by the rate.
        """
        raise NotImplementedError

    def num_sums(self, num_experts):
        """Return the size of what `summands` returns."""
        return num_experts

    def build(self, router):
        if router.expert_bias is not None:
            raise ValueError(
                "Expected one balancing rule that moves the selection bias. "
                f"Received: a {type(self).__name__} and another. Leave one "
                "out."
            )
        router.expert_bias = router.add_weight(
            name="expert_bias",
            shape=(router.num_experts,),
            initializer="zeros",
            trainable=False,
            autocast=False,
        )
        size = self.num_sums(router.num_experts)
        router.step_sum = StepSum(size, name="step_sum")
        router.step_sum.build()

    def selection_bias(self, router):
        return router.expert_bias

    def update(self, plan, router):
        if not (self.rate and router.trainable):
            return
        sums, is_last = router.step_sum(self.summands(plan, router))
        step = self.rate * self.step(sums)
        router.expert_bias.assign_add(ops.where(is_last, step, 0.0))

    def get_config(self):
        return {"rate": self.rate}


def check_bias_is_heeded(router):
    """Raise if a rule moves a bias that the router has not asked for.

    Args:
        router: `keras_moe.layers.Router` that has just routed.

    Raises:
        ValueError: Names the router and the rule.

    Example:

    >>> from keras_moe.layers import TopKRouter
    >>> check_bias_is_heeded(TopKRouter(num_experts=8))
    """
    if router.heeds_bias:
        return
    for rule in router.balancing:
        if rule.selection_bias(router) is not None:
            raise ValueError(
                f"Expected `{type(router).__name__}.route` to heed "
                f"`self.selection_bias()`, which `{type(rule).__name__}` "
                "moves. Received: a router that chooses without. Leave the "
                "rule out."
            )
