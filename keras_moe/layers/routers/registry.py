"""The table of routers."""

from keras_moe.layers.top_k_router import TopKRouter

ROUTERS = {
    "top_k": TopKRouter,
}
"""Every router of this package by its name."""


def get_router(name):
    """Look up a router's class by its name.

    Args:
        name: str, a key of `ROUTERS`.

    Returns:
        Subclass of `keras_moe.layers.Router`. Its `source` says where the
        formula was published.

    Raises:
        ValueError: If the name is unknown.

    Example:

    >>> get_router("top_k").__name__
    'TopKRouter'
    """
    if name not in ROUTERS:
        raise ValueError(
            f"Expected a router's name, one of {list(ROUTERS)}. Received: "
            f"{name!r}. Give a router of your own as `router=` itself."
        )
    return ROUTERS[name]
