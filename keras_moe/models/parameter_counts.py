"""How large a model is, without making it."""

from typing import NamedTuple


class ParameterCounts(NamedTuple):
    """The size of a model.

    Attributes:
        total: int, all parameters.
        active: int, parameters that one token meets: `total` without the
            experts that it is not sent to.
        flops_per_token: int, multiplications and additions of all matrix
            products of one forward pass per token, attention scores not
            counted (they grow with the length).
    """

    total: int
    active: int
    flops_per_token: int


def parameter_counts(model, **config):
    """Count a model's parameters from its configuration alone.

    Args:
        model: name of a preset such as `"mixtral_8x7b"`, a backbone class
            together with its arguments as `**config`, or a backbone or task
            that exists.
        **config: constructor arguments; they override a preset's.

    Returns:
        `ParameterCounts`.

    Raises:
        ValueError: If the preset is unknown; lists the known ones.

    Example:

    >>> from keras_moe.models import parameter_counts
    >>> counts = parameter_counts("mixtral_8x7b")
    >>> f"{counts.total:,} in all, {counts.active / 1e9:.1f}B active"
    '46,702,792,704 in all, 12.9B active'
    """
    from keras_moe.models.presets import preset

    if isinstance(model, str):
        model, preset_config = preset(model)
        config = {**preset_config, **config}
    elif not isinstance(model, type):
        model = getattr(model, "backbone", model)
        config = {**model.get_config(), **config}
        model = type(model)
    return model.parameter_counts(**config)
