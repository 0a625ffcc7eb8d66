"""What all ways of balancing the experts have in common."""

import keras
from keras import ops


class BalancingRule:
    """Keeps the experts of a router equally busy: by a loss, or by state.

    Like a `keras.regularizers.Regularizer`, a rule is a serializable object
    that a layer is given. A subclass overrides `__call__` for a loss, or the
    other methods for state, which belongs to the router. Register it with
    `keras.saving.register_keras_serializable` and give it `get_config`.

    Example:

    >>> import keras
    >>> from keras_moe.layers import TopKRouter
    >>> @keras.saving.register_keras_serializable("my_package")
    ... class SmallLogits(BalancingRule):
    ...     def __call__(self, plan):
    ...         return 0.1 * keras.ops.mean(plan.scores.logits ** 2)
    >>> router = TopKRouter(num_experts=8, balancing=SmallLogits())
    """

    # Where the formula was published: paper and equation, one line.
    source: str | None = None
    # Whether the rule's aim is that experts are equally busy. A router whose
    # experts are so anyway refuses it.
    evens_load = False
    # Whose tokens a loss is about, where replicas share a batch.
    scope = "batch"

    def __call__(self, plan):
        """Compute the loss of a training step.

        Args:
            plan: what the router chose, before anything is dropped.

        Returns:
            float32 scalar, weighted; `None` for no loss.
        """

    def add_loss(self, plan, router):
        """Add the loss of a training step to the router's losses.

        Args:
            plan: what the router chose, before anything is dropped.
            router: `keras_moe.layers.Router`.
        """
        loss = self(plan)
        if loss is not None:
            # The dtype of a model's own loss: TensorFlow adds no other.
            router.add_loss(ops.cast(loss, keras.config.floatx()))

    def build(self, router):
        """Make the rule's variables with `router.add_weight`.

        Args:
            router: `keras_moe.layers.Router`, with `num_experts`.
        """

    def selection_bias(self, router):
        """Return what is added to the scores for the choice alone.

        Args:
            router: the same, built.

        Returns:
            float32 tensor of shape (E,), or `None`.
        """

    def update(self, plan, router):
        """Change the rule's variables after a training step's choice.

        Args:
            plan: what the router chose, before anything is dropped.
            router: the same.
        """

    def get_config(self):
        """Return the constructor's arguments."""
        return {}

    @classmethod
    def from_config(cls, config):
        """Make a rule from what `get_config` returned."""
        return cls(**config)
