"""Whether a router's balancing and capacity make sense for its plans."""

from keras_moe.routing.capacity import Capacity
from keras_moe.routing.plans import TokenChoice
from keras_moe.routing.settings import check_settings


def check_balancing(router):
    """Raise unless a router can use its balancing rules and its capacity.

    A rule that evens the load has nothing to do where the load is equal by
    construction, and a capacity where tokens do not choose the experts.

    Args:
        router: `keras_moe.layers.Router` with `balancing` and `capacity`.

    Raises:
        ValueError: Names what does not fit.

    Example:

    >>> from keras_moe.layers import TopKRouter
    >>> check_balancing(TopKRouter(num_experts=8))
    """
    kind, capacity = type(router).__name__, router.capacity
    check_settings(Capacity, capacity=capacity)
    if capacity is not None and router.plan_class is not TokenChoice:
        raise ValueError(
            f"Expected no `capacity` for a {kind}, which says itself how many "
            f"tokens an expert gets. Received: capacity={capacity}. Leave it "
            "out, and use the router's own arguments."
        )
    for rule in router.balancing:
        if rule.evens_load and router.has_equal_load:
            raise ValueError(
                f"Expected no rule that evens the load of a {kind}, whose "
                "experts are equally busy anyway. Received: "
                f"{type(rule).__name__}. Leave it out: `balancing=None`, or "
                "`'router_z_loss'`."
            )
