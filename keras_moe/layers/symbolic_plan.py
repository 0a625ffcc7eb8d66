"""What a router returns for symbolic inputs."""

import keras

from keras_moe.routing.plans import RouterScores


class SymbolicPlan(keras.Operation):
    """The parts of a router's plan up to its scores, without `None`.

    A node of a functional model holds tensors alone.

    Args:
        router: `keras_moe.layers.Router`.
    """

    def __init__(self, router):
        super().__init__()
        self.router = router

    def call(self, *args, **kwargs):
        plan = self.router.call(*args, **kwargs)
        *parts, scores = plan[: plan._fields.index("scores") + 1]
        if scores is not None:
            parts.append(_given(scores))
        return _given(parts)


def plan_of_tensors(plan_class, tensors):
    """Make a plan of what `SymbolicPlan` returned.

    Args:
        plan_class: class of the plan.
        tensors: tuple of its parts, the scores as a tuple.

    Returns:
        A `plan_class`.
    """
    *parts, last = tensors
    return plan_class(
        *parts, RouterScores(*last) if isinstance(last, tuple) else last
    )


def _given(parts):
    return tuple(part for part in parts if part is not None)
