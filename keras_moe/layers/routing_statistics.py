"""What a sparse layer remembers of its routing, when somebody asks."""

import keras
import numpy as np
from keras import ops

from keras_moe.balancing.run_state import RunState
from keras_moe.losses.load_balancing import tokens_per_expert
from keras_moe.metrics.table import ROUTING_METRICS
from keras_moe.metrics.table import metrics_of_load
from keras_moe.ops.plain_numbers import plain_numbers
from keras_moe.ops.replicas import sum_over_batch
from keras_moe.ops.replicas import whole_batch

# Name, function of a plan, whether that needs scores.
_OF_PLAN = [
    (name, metric.of_plan, metric.needs_scores)
    for name, metric in ROUTING_METRICS.items()
    if metric.of_plan is not None
]


@keras.saving.register_keras_serializable(package="keras_moe")
class RoutingStatistics(RunState):
    """Averages a layer's routing over training steps.

    What it computes are the rows of `keras_moe.metrics.ROUTING_METRICS`, of
    the tokens of all replicas (`torch.distributed`, `tf.distribute`).

    Switched off (`enabled = False`, the default) it adds no operation to the
    program. `keras_moe.callbacks.RoutingMonitor` switches it on, or do it by
    hand before the first training step is compiled:
    `layer.statistics.enabled = True`.

    The numbers are state like a seed generator's: a training step carries
    them along on every backend, but they are no weights, so they are neither
    counted nor saved.

    Args:
        num_experts: int E.

    Example:

    >>> import numpy as np
    >>> from keras_moe.routing import choose_top_k, count_tokens
    >>> statistics = RoutingStatistics(num_experts=2)
    >>> statistics.enabled = True
    >>> plan = choose_top_k(np.array([[[0, 1], [1, 0]]], "float32"), top_k=1)
    >>> statistics(count_tokens(plan, num_experts=2))
    >>> statistics.result()["expert_load"].tolist()
    [0.5, 0.5]
    """

    @plain_numbers
    def __init__(self, num_experts, **kwargs):
        super().__init__(**kwargs)
        self.num_experts = num_experts
        self.enabled = False

    def build(self, *shapes):
        self.steps = self.add_state("steps")
        self.tokens_per_expert = self.add_state(
            "tokens_per_expert", (self.num_experts,), "int32"
        )
        self._sums = {name: self.add_state(name) for name, *_ in _OF_PLAN}
        self._sums["expert_load"] = self.add_state(
            "expert_load", (self.num_experts,)
        )

    def __call__(self, plan, **kwargs):
        # Keras hands tensors to a layer, and a plan's capacity may be an int.
        tensors = keras.tree.map_structure(
            lambda part: None if isinstance(part, int) else part, plan
        )
        return super().__call__(tensors, **kwargs)

    def call(self, plan):
        if self.enabled:
            with whole_batch():
                self._count(plan)

    def _count(self, plan):
        (routed,) = sum_over_batch(tokens_per_expert(plan))
        pairs = ops.maximum(ops.sum(routed), 1.0)
        new = {"expert_load": routed / pairs}
        for name, of_plan, needs_scores in _OF_PLAN:
            if plan.scores is not None or not needs_scores:
                new[name] = of_plan(plan)
        self.steps.assign_add(1.0)
        self.tokens_per_expert.assign(ops.cast(routed, "int32"))
        for name, value in new.items():
            self._sums[name].assign_add(ops.stop_gradient(value))

    def rematerialized_call(self, layer_call, *args, **kwargs):
        # Computed again in the backward pass, it would count twice.
        return layer_call

    def result(self):
        """Return the averages since the last reset.

        Returns:
            dict of NumPy values: `tokens_per_expert` int32 (E,), of the last
            step, in pairs; `expert_load` (E,), fractions that sum to 1; a
            number for each row of `ROUTING_METRICS`; and `steps`. Only zeros
            before the first step.
        """
        steps = float(ops.convert_to_numpy(self.steps))
        means = {
            name: ops.convert_to_numpy(value) / max(steps, 1.0)
            for name, value in self._sums.items()
        }
        return {
            "steps": int(steps),
            # A copy: on torch the array would share the variable's memory.
            "tokens_per_expert": np.array(
                ops.convert_to_numpy(self.tokens_per_expert)
            ),
            **metrics_of_load(means["expert_load"]),
            **means,
        }

    def get_config(self):
        return {**super().get_config(), "num_experts": self.num_experts}
