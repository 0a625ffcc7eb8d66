"""How large a model is, without making it."""

import math
from typing import NamedTuple

from keras_moe.layers.sparse_moe import SparseMoE
from keras_moe.models.registry import preset
from keras_moe.ops.all_layers import all_layers


class ParameterCounts(NamedTuple):
    """The size of a model.

    Attributes:
        total: int, all parameters.
        active: int, parameters that one token meets: `total` without the
            experts that it is not sent to.
        flops_per_token: int, multiplications and additions of all matrix
            products of one forward pass per token, attention scores not
            counted (they grow with the length).
        cache_bytes_per_token: int, keys and values that one token leaves in
            the cache while generating, in bfloat16; `None` for encoders and
            decoders with cross-attention.
    """

    total: int
    active: int
    flops_per_token: int
    cache_bytes_per_token: int | None = None


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
    if isinstance(model, str):
        model, preset_config = preset(model)
        config = {**preset_config, **config}
    elif not isinstance(model, type):
        model = getattr(model, "backbone", model)
        config = {**model.get_config(), **config}
        model = type(model)
    return model.parameter_counts(**config)


def count_variables(backbone, looked_up=()):
    """Count what one token meets of a backbone.

    Args:
        backbone: a backbone, which may be without values.
        looked_up: matrices that are no part of a product: embeddings.

    Returns:
        `ParameterCounts`.
    """
    looked_up = {id(variable) for variable in looked_up}
    total = active = flops = 0
    for variable in backbone.weights:
        size = math.prod(variable.shape)
        total += size
        active += size
        if _is_product(variable) and id(variable) not in looked_up:
            flops += 2 * size
    for layer in all_layers(backbone):
        if not isinstance(layer, SparseMoE):
            continue
        for variable in layer.experts.trainable_variables:
            size = math.prod(variable.shape)
            unused = size - size * layer.router.top_k // layer.num_experts
            active -= unused
            flops -= 2 * unused if _is_product(variable) else 0
    return ParameterCounts(total, active, flops)


def _is_product(variable):
    """Whether a matrix is multiplied by it: a bias may have two axes too."""
    return len(variable.shape) > 1 and variable.name != "bias"
