"""Stretched rotary positions in a `config.json`."""

from keras_moe.blocks.yarn import Yarn
from keras_moe.checkpoints.checkpoint_format import look_up
from keras_moe.checkpoints.rope_config import SPELLINGS
from keras_moe.checkpoints.rope_config import rope_kind
from keras_moe.checkpoints.rope_config import rope_settings
from keras_moe.checkpoints.rope_config import write_plain_rope

# Theirs -> ours, of the optional settings.
OPTIONAL = {
    "beta_fast": "beta_fast",
    "beta_slow": "beta_slow",
    "truncate": "truncate",
    "mscale": "mscale",
    "mscale_all_dim": "mscale_all_dim",
    "attention_factor": "attention_factor",
}


def read_yarn(config):
    """Read YaRN in the spelling of transformers 5 or 4.

    Args:
        config: dict.

    Returns:
        dict of the fields of `keras_moe.blocks.Yarn`; `None` if the positions
        are not stretched.

    Raises:
        ValueError: If they are in another way.

    Example:

    >>> scaling = {"type": "yarn", "factor": 40}
    >>> config = {"max_position_embeddings": 4096, "rope_scaling": scaling}
    >>> read_yarn(config)["original_max_length"]
    4096
    """
    for key in SPELLINGS:
        scaling = rope_settings(config, key)
        kind = rope_kind(scaling)
        if kind == "yarn":
            return _fields(scaling, config)
        if kind != "default":
            raise ValueError(
                "Expected rotary positions that are unscaled or YaRN. "
                f"Received: {key}={scaling}."
            )
    return None


def _fields(scaling, config):
    context = look_up(config, "max_position_embeddings")
    length = look_up(scaling, "original_max_position_embeddings", context)
    factor = look_up(scaling, "factor")
    if length is None or (factor is None and context is None):
        raise ValueError(
            "Expected the lengths of a YaRN context. Received: "
            f"{scaling}, max_position_embeddings={context}."
        )
    given = {
        ours: scaling[theirs]
        for theirs, ours in OPTIONAL.items()
        if scaling.get(theirs) is not None
    }
    scaling_factor = context / length if factor is None else factor
    return Yarn(scaling_factor, length, **given)._asdict()


def write_yarn(arguments):
    """Write rotary positions in both spellings.

    Args:
        arguments: dict with `rope_max_wavelength` and `yarn`.

    Returns:
        dict for `config.json`.
    """
    plain = write_plain_rope(arguments)
    fields = arguments["yarn"]
    if fields is None:
        return plain
    length, factor = fields["original_max_length"], fields["scaling_factor"]
    scaling = {
        "factor": factor,
        "original_max_position_embeddings": length,
        **{
            theirs: fields[ours]
            for theirs, ours in OPTIONAL.items()
            if fields[ours] != Yarn._field_defaults[ours]
        },
    }
    theta = plain["rope_theta"]
    return {
        "rope_theta": theta,
        "rope_scaling": {"type": "yarn", **scaling},
        "rope_parameters": {
            "rope_type": "yarn",
            "rope_theta": theta,
            **scaling,
        },
    }


def default_length(arguments):
    """Say how long a stretched context may be.

    Args:
        arguments: dict with `yarn`.

    Returns:
        dict for `config.json`.

    Example:

    >>> yarn = {"original_max_length": 4096, "scaling_factor": 40}
    >>> default_length({"yarn": yarn})
    {'max_position_embeddings': 163840}
    """
    fields = arguments["yarn"]
    if fields is None:
        return {}
    length = fields["scaling_factor"] * fields["original_max_length"]
    return {"max_position_embeddings": int(length)}
