"""`keras-moe routers` and `balancing`: what `train` can route with."""

import typer


def routers():
    """List the routers by name, each with its source."""
    from keras_moe.cli.backend import import_models

    import_models()
    from keras_moe.layers import ROUTERS

    _list(ROUTERS)


def balancing():
    """List the balancing rules by name, each with its source."""
    from keras_moe.cli.backend import import_models

    import_models()
    from keras_moe.balancing.get_rules import RULES

    _list(RULES)


def make_router(size, vocabulary_size, **arguments):
    """Make what a backbone's argument `router` takes.

    Args:
        size: `ModelSize`.
        vocabulary_size: int V.
        **arguments: of the router, besides.

    Returns:
        `keras_moe.layers.Router`; a dict of changes for the model's own.

    Raises:
        ValueError: If a name is unknown, or the router refuses what else is
            asked for.
    """
    import inspect

    from keras_moe.layers import get_router
    from keras_moe.models.decoder_parts import kernel_initializer
    from keras_moe.routing import Capacity

    asked = dict(arguments)
    if size.capacity_factor is not None:
        asked["capacity"] = Capacity(factor=size.capacity_factor)
    if size.balancing is not None:
        names = [] if size.balancing == "none" else size.balancing.split(",")
        asked["balancing"] = [name.strip() for name in names]
    if size.router is None:
        return {"capacity": None, **asked}
    router_class = get_router(size.router)
    taken = inspect.signature(router_class).parameters
    settings = {
        "num_experts": size.num_experts,
        "top_k": size.top_k,
        "vocabulary_size": vocabulary_size,
        "kernel_initializer": kernel_initializer(),
    }
    settings = {name: settings[name] for name in settings if name in taken}
    return router_class(**settings, **asked)


def _list(table):
    width = max(len(name) for name in table)
    for name, each in table.items():
        typer.echo(f"{name:{width}}  {each.source}")
