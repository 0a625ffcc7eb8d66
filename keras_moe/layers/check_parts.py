"""Whether the parts of a sparse layer fit together."""

from keras_moe.experts.expert_bank import ExpertBank
from keras_moe.layers.router import Router


def check_router(router, capacity):
    """Raise unless the router that a layer is given is one.

    Args:
        router: what should be a `keras_moe.layers.Router`, or `None`.
        capacity: the layer's argument, for its own router alone.

    Raises:
        ValueError: If it is no router, or comes with a capacity.

    Example:

    >>> check_router(None, capacity=None)
    """
    if router is None:
        return
    if not isinstance(router, Router):
        raise ValueError(
            "Expected `router` to be a `keras_moe.layers.Router`. "
            f"Received: {type(router).__name__}. Derive your router from that "
            "class, and name `call` `route`."
        )
    if capacity is not None:
        raise ValueError(
            "Expected `capacity` without a `router` of your own. Received: "
            f"both. Give it to the router: "
            f"`{type(router).__name__}(..., capacity=...)`."
        )


def check_experts(experts):
    """Raise unless the experts that a layer is given are a bank.

    Args:
        experts: what should be a `keras_moe.experts.ExpertBank`, or `None`.

    Raises:
        ValueError: If they are not.

    Example:

    >>> check_experts(None)
    """
    if experts is not None and not isinstance(experts, ExpertBank):
        raise ValueError(
            "Expected `experts` to be a `keras_moe.experts.ExpertBank`. "
            f"Received: {type(experts).__name__}. Derive your experts from "
            "that class, or give the layer as `shared_experts`."
        )


def check_num_experts(num_experts, router, experts):
    """Raise unless the parts have as many experts as the layer.

    Args:
        num_experts: int E.
        router: `keras_moe.layers.Router`.
        experts: `keras_moe.experts.ExpertBank`, without the experts of the
            router that compute nothing.

    Raises:
        ValueError: Names the first part that has another number.

    Example:

    >>> from keras_moe.layers import SparseMoE
    >>> layer = SparseMoE(num_experts=8, intermediate_dim=4)
    >>> check_num_experts(8, layer.router, layer.experts)
    """
    free = router.num_free_experts
    for name, part, missing in (
        ("router", router, 0),
        ("experts", experts, free),
    ):
        if part.num_experts + missing != num_experts:
            raise ValueError(
                f"Expected as many experts in `{name}` as in the layer"
                f"{f', less {missing} that compute nothing' * bool(missing)}. "
                f"Received: num_experts={num_experts}, "
                f"{name}.num_experts={part.num_experts}. Make them equal."
            )
