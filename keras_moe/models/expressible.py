"""Whether a published format has words for a model."""

import inspect

from keras_moe.models.family_router import inference_config

# What the formats do not say, and inference does not need.
ONLY_WHILE_TRAINING = ("dtype", "dropout")


def check_expressible(backbone, arguments):
    """Raise if the published format has no word for an argument.

    Args:
        backbone: `PublishedBackbone`.
        arguments: dict, its `published_arguments()`.

    Returns:
        `keras_moe.checkpoints.Architecture`, the format.

    Raises:
        ValueError: If there is no format, or an argument would be lost.
    """
    architecture = backbone.architecture
    name = type(backbone).__name__
    if architecture is None:
        raise ValueError(
            "Expected a backbone with an `architecture`, its published "
            f"format. Received: {name} without. Use `save_to_preset` or "
            "`save` instead."
        )
    written = architecture.write_config(arguments)
    read = backbone.read_arguments(architecture, written)
    lost = [
        *_lost_arguments(backbone, arguments, read),
        *_lost_of_router(backbone, arguments, read),
    ]
    if lost:
        raise ValueError(
            f"Expected arguments that a {architecture.model_type} config.json "
            f"can express. Received: {', '.join(lost)}. Use `save_to_preset` "
            "or `save` instead."
        )
    return architecture


def _lost_arguments(backbone, arguments, read):
    defaults = inspect.signature(type(backbone).__init__).parameters
    return [
        f"{name}={arguments[name]!r}"
        for name in defaults
        if name in arguments
        and name not in ("router", *ONLY_WHILE_TRAINING)
        and arguments[name] != read.get(name, defaults[name].default)
    ]


def _lost_of_router(backbone, arguments, read):
    router = type(backbone).make_router({**arguments, "router": None, **read})
    if inference_config(router) == inference_config(backbone.router):
        return []
    return [f"router={backbone.router!r}"]
