"""What a router returns for symbolic inputs."""

import keras


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
        last = plan._fields.index("scores") + 1
        return tuple(part for part in plan[:last] if part is not None)
