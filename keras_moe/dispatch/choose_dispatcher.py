"""Which dispatcher serves a layer."""

from keras import distribution

from keras_moe.dispatch.capacity_dispatcher import CapacityDispatcher
from keras_moe.dispatch.dense_dispatcher import DenseDispatcher
from keras_moe.dispatch.sorted_dispatcher import SortedDispatcher

DISPATCHERS = {
    "sorted": SortedDispatcher,
    "capacity": CapacityDispatcher,
    "dense": DenseDispatcher,
}


def check_dispatcher(name):
    """Raise if `name` is not a known dispatcher.

    Args:
        name: `"auto"`, `"sorted"`, `"capacity"` or `"dense"`.

    Raises:
        ValueError: If it is unknown; the message lists the known ones.

    Example:

    >>> check_dispatcher("auto")
    """
    if name != "auto" and name not in DISPATCHERS:
        raise ValueError(
            f"Expected `dispatcher` to be one of {['auto', *DISPATCHERS]}. "
            f"Received: dispatcher={name!r}"
        )


def choose_dispatcher(name, plan, assignment, num_experts):
    """Make the dispatcher for one call.

    `"auto"` sorts, which computes the kept pairs and nothing else, capacity
    or not. Only under a `keras.distribution` does a capacity-limited layer
    take static slots, because those a partitioner can move between devices.

    Args:
        name: `"auto"`, `"sorted"`, `"capacity"` or `"dense"`.
        plan: `RoutingPlan` with leading dimensions (G, S).
        assignment: `SlotAssignment` for that plan.
        num_experts: int E.

    Returns:
        A `Dispatcher`.

    Raises:
        ValueError: If the name is unknown, or if `"capacity"` is asked for
            without a capacity.

    Example:

    >>> import numpy as np
    >>> from keras_moe.routing import choose_top_k, keep_all
    >>> plan = choose_top_k(np.zeros((1, 3, 4), "float32"), top_k=1)
    >>> type(choose_dispatcher("auto", plan, keep_all(plan), 4)).__name__
    'SortedDispatcher'
    """
    check_dispatcher(name)
    if name == "auto":
        distributed = distribution.distribution() is not None
        static = distributed and assignment.slots is not None
        name = "capacity" if static else "sorted"
    return DISPATCHERS[name](plan, assignment, num_experts)
