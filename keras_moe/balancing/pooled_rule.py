"""What the balancing rules of a whole model have in common."""

import threading
import weakref
from collections.abc import MutableMapping

import keras
from keras import ops

from keras_moe.balancing.balancing_rule import BalancingRule


class PooledRule(BalancingRule):
    """Adds one loss for all layers of a model together.

    A rule of one layer adds up a loss for each layer. This one first adds up
    what the layers say, and then computes the loss of the sums. All routers
    that hold the same object are pooled, and so are all routers of a backbone
    with such a rule. Each router adds by how much it changes the loss of the
    layers before it, so the losses of one call always sum up to the loss of
    the layers called.

    Abstract: a subclass overrides `parts` and `loss_of`.

    Example:

    >>> import keras
    >>> from keras_moe.layers import SparseMoE, TopKRouter
    >>> @keras.saving.register_keras_serializable("my_package")
    ... class MeanLoad(PooledRule):
    ...     def parts(self, plan):
    ...         return (ops.mean(plan.scores.probs, axis=(0, 1)),)
    ...     def loss_of(self, mean_probs):
    ...         return ops.max(mean_probs)
    >>> rule = MeanLoad()
    >>> model = keras.Sequential(
    ...     [SparseMoE(4, 8, router=TopKRouter(4, balancing=rule))
    ...      for _ in range(2)])
    >>> outputs = model(keras.random.normal((1, 5, 16)), training=True)
    >>> len(model.losses)
    2
    """

    def __init__(self):
        self._pool = _Pool()

    def parts(self, plan):
        """Compute what is added up over the layers.

        Args:
            plan: what a router chose, before anything is dropped.

        Returns:
            tuple of float32 tensors, of the same shapes for every layer.
        """
        raise NotImplementedError

    def loss_of(self, *parts):
        """Compute the loss of the sums.

        Args:
            *parts: the tensors that `parts` returned, added up.

        Returns:
            float32 scalar, weighted.
        """
        raise NotImplementedError

    def __call__(self, plan):
        return self.loss_of(*self.parts(plan))

    def add_loss(self, plan, router):
        before, parts = self._pool.parts(), self.parts(plan)
        if before is None:
            loss = self.loss_of(*parts)
        else:
            self._check_shapes(before, parts)
            parts = [a + b for a, b in zip(before, parts, strict=True)]
            loss = self.loss_of(*parts) - self.loss_of(*before)
        loss = ops.cast(loss, keras.config.floatx())
        router.add_loss(loss)
        self._pool.add(router, loss, parts)

    def _check_shapes(self, before, parts):
        shapes = [[tuple(p.shape) for p in each] for each in (before, parts)]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"Expected layers with the same number of experts in one "
                f"`{type(self).__name__}`. Received: sums of shapes "
                f"{shapes[0]} and {shapes[1]}. Give the others a rule of "
                "their own."
            )


def pool_rules(routers):
    """Pool the routers of one model: rules of a class add up in one place.

    Args:
        routers: list of `keras_moe.layers.Router`.

    Example:

    >>> from keras_moe.balancing import PooledLoadBalancingLoss
    >>> from keras_moe.layers import TopKRouter
    >>> pool_rules([
    ...     TopKRouter(4, balancing=PooledLoadBalancingLoss(0.1))
    ...     for layer in range(2)
    ... ])
    """
    pools: dict[type, _Pool] = {}
    for router in routers:
        for rule in router.balancing:
            if isinstance(rule, PooledRule):
                rule._pool = pools.setdefault(type(rule), rule._pool)


class _Pool:
    """The sums over the layers that one call of a model has passed."""

    def __init__(self):
        # The replicas of a `tf.distribute` strategy are threads, whose calls
        # alternate.
        self._calls: MutableMapping = weakref.WeakKeyDictionary()

    def parts(self):
        """Return the sums so far, or `None` if a new call has begun."""
        added, parts = self._call()
        # Keras forgets a layer's losses when a new call reaches it.
        if not all(_has(router, loss) for router, loss in added):
            added, parts = self._calls[threading.current_thread()] = [], None
        return parts

    def add(self, router, loss, parts):
        """Note that a router has added its loss, and the sums with it."""
        added, _ = self._call()
        self._calls[threading.current_thread()] = (
            [*added, (router, loss)],
            parts,
        )

    def _call(self):
        return self._calls.get(threading.current_thread(), ([], None))


def _has(router, loss):
    return any(each is loss for each in router.losses)
