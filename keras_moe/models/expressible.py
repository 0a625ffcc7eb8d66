"""Whether a published format has words for a model."""

import inspect

from keras_moe.models.family_router import inference_config

# What the formats do not say, and inference does not need.
ONLY_WHILE_TRAINING = ("dtype", "dropout", "expert_dropout")


def check_expressible(backbone, arguments):
    """Raise if the published format has no word for an argument.

    Args:
        backbone: `PublishedBackbone`.
        arguments: dict, its `published_arguments()`.

    Returns:
        `keras_moe.checkpoints.CheckpointFormat`, the format.

    Raises:
        ValueError: If there is no format, or an argument would be lost.
    """
    checkpoint_format = backbone.checkpoint_format
    name = type(backbone).__name__
    if checkpoint_format is None:
        raise ValueError(
            "Expected a backbone with a `checkpoint_format`, its published "
            f"format. Received: {name} without. Use `save_to_preset` or "
            "`save` instead."
        )
    written = checkpoint_format.write_config(arguments)
    read = backbone.read_arguments(checkpoint_format, written)
    lost = [
        *_lost_arguments(backbone, arguments, read),
        *_lost_of_router(backbone, arguments, read),
    ]
    if lost:
        raise ValueError(
            f"Expected arguments that a {checkpoint_format.model_type} "
            f"config.json can express. Received: {', '.join(lost)}. Use "
            "`save_to_preset` or `save` instead."
        )
    return checkpoint_format


def _lost_arguments(backbone, arguments, read):
    parameters = inspect.signature(type(backbone)).parameters
    return [
        f"{name}={arguments[name]!r}"
        for name, parameter in parameters.items()
        if name in arguments
        and name not in ("router", *ONLY_WHILE_TRAINING)
        and not _same(arguments[name], read.get(name, parameter.default))
    ]


def _same(value, other):
    # JSON knows no tuples.
    listed = (tuple, list)
    if isinstance(value, listed) and isinstance(other, listed):
        return list(value) == list(other)
    return value == other


def _lost_of_router(backbone, arguments, read):
    backbone_class = type(backbone)
    values = {**arguments, "router": None, **read}
    router = backbone_class.make_router(
        backbone_class.arguments_class.pick(values)
    )
    if inference_config(router) == inference_config(backbone.router):
        return []
    return [f"router={backbone.router!r}"]
