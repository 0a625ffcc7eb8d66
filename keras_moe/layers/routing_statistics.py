"""What a sparse layer remembers of its routing, when somebody asks."""

import keras
import numpy as np
from keras import ops

from keras_moe.layers.run_state import RunState
from keras_moe.losses.load_balancing import load_balancing_loss
from keras_moe.losses.load_balancing import tokens_per_expert
from keras_moe.losses.router_z import router_z_loss
from keras_moe.metrics.routing import dropped_fraction
from keras_moe.metrics.routing import max_violation
from keras_moe.metrics.routing import router_entropy
from keras_moe.ops.plain_numbers import plain_numbers


@keras.saving.register_keras_serializable(package="keras_moe")
class RoutingStatistics(RunState):
    """Averages a layer's routing over training steps.

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
    >>> from keras_moe.routing import choose_top_k, keep_all
    >>> statistics = RoutingStatistics(num_experts=2)
    >>> statistics.enabled = True
    >>> plan = choose_top_k(np.array([[[0, 1], [1, 0]]], "float32"), top_k=1)
    >>> statistics(plan, keep_all(plan).kept)
    >>> statistics.result()["expert_load"].tolist()
    [0.5, 0.5]
    """

    @plain_numbers
    def __init__(self, num_experts, **kwargs):
        super().__init__(**kwargs)
        self.num_experts = num_experts
        self.enabled = False

    def build(self, *shapes):
        # Of replicas: the sum of their tokens, the mean of their averages.
        self.steps = self.add_state("steps", replicas="only_first_replica")
        self.tokens_per_expert = self.add_state(
            "tokens_per_expert", (self.num_experts,), "int32", replicas="sum"
        )
        shapes = {
            "expert_load": (self.num_experts,),
            "dropped_fraction": (),
            "router_entropy": (),
            "load_balancing_loss": (),
            "router_z_loss": (),
        }
        self._sums = {
            name: self.add_state(name, shape, replicas="mean")
            for name, shape in shapes.items()
        }

    def call(self, plan, kept):
        if not self.enabled:
            return
        routed = tokens_per_expert(plan)
        pairs = ops.maximum(ops.sum(routed), 1.0)
        new = {
            "expert_load": routed / pairs,
            "dropped_fraction": dropped_fraction(plan, kept),
            "router_entropy": router_entropy(plan),
            "load_balancing_loss": load_balancing_loss(plan),
            "router_z_loss": router_z_loss(plan),
        }
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
            step, in pairs; `expert_load` (E,), fractions that sum to 1;
            `dropped_fraction`; `router_entropy` in nats;
            `load_balancing_loss`; `router_z_loss` in nats squared;
            `max_violation`, E * max(expert_load) - 1; and `steps`. Only
            zeros before the first step.
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
            "max_violation": max_violation(means["expert_load"]),
            **means,
        }

    def get_config(self):
        return {**super().get_config(), "num_experts": self.num_experts}
