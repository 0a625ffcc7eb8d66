"""How large a model is, without making it."""

import math
from typing import NamedTuple

from keras_moe.models.registry import preset
from keras_moe.ops.unfilled_variables import build_unfilled


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


def count_variables(backbone_class, config):
    """Count a decoder-only model by building it without values.

    Args:
        backbone_class: a `DecoderBackbone`.
        config: dict, its constructor arguments.

    Returns:
        `ParameterCounts`.
    """
    backbone = build_unfilled(lambda: backbone_class(**config))
    embeddings = backbone.token_embedding
    tied = embeddings.tie_weights
    total = active = flops = 0
    for variable in backbone.weights:
        size = math.prod(variable.shape)
        total += size
        active += size
        looked_up = variable is embeddings.embeddings and not tied
        if len(variable.shape) > 1 and not looked_up:
            flops += 2 * size
    for experts, top_k in _expert_banks(backbone):
        for variable in experts.trainable_variables:
            size = math.prod(variable.shape)
            unused = size - size * top_k // experts.num_experts
            active -= unused
            flops -= 2 * unused
    cached = sum(
        block.attention.cached_numbers_per_token()
        for block in backbone.decoder_blocks
    )
    return ParameterCounts(total, active, flops, 2 * cached)


def _expert_banks(backbone):
    for block in backbone.decoder_blocks:
        sparse = block.feed_forward
        sparse = getattr(sparse, "routed_experts", sparse)
        if hasattr(sparse, "experts"):
            yield sparse.experts, sparse.router.top_k
