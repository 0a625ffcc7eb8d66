"""Rotary positions in a `config.json`."""

from keras_moe.checkpoints.checkpoint_format import look_up

# Of transformers 5, and of transformers 4.
SPELLINGS = ("rope_parameters", "rope_scaling")


def rope_settings(config, key):
    """Read how positions are scaled, for all layers alike.

    Args:
        config: dict.
        key: one of the two spellings.

    Returns:
        dict, empty if there is nothing. Nested settings, by the layers' type,
        are those of one type.

    Raises:
        ValueError: If layers differ, only a part of a head turns, or the
            settings are no dictionary.

    Example:

    >>> nested = {"full_attention": {"rope_theta": 5e5}}
    >>> rope_settings({"rope_parameters": nested}, "rope_parameters")
    {'rope_theta': 500000.0}
    """
    scaling = look_up(config, key, {})
    layers = []
    if isinstance(scaling, dict):
        layers = [each for each in scaling.values() if isinstance(each, dict)]
    alike = all(each == layers[0] for each in layers)
    if not isinstance(scaling, dict) or not alike:
        raise ValueError(
            "Expected unscaled rotary positions or one dictionary that holds "
            f"for all layers. Received: {key}={scaling}. This architecture is "
            "not known with others."
        )
    scaling = layers[0] if layers else scaling
    part = look_up(config, "partial_rotary_factor", 1.0)
    part = look_up(scaling, "partial_rotary_factor", part)
    if part != 1.0:
        raise ValueError(
            "Expected heads that turn as a whole. Received: "
            f"partial_rotary_factor={part}. This architecture is not known "
            "with it."
        )
    return scaling


def rope_kind(scaling):
    """Name the way in which positions are scaled.

    Args:
        scaling: dict, as from `rope_settings`.

    Returns:
        str, such as `"default"` or `"yarn"`.

    Example:

    >>> rope_kind({"type": "yarn"})
    'yarn'
    """
    return scaling.get("rope_type", scaling.get("type", "default"))


def rope_theta(config, default=10_000.0):
    """Read the rotary base in the spelling of transformers 5 or 4.

    Args:
        config: dict.
        default: float, if there is none.

    Returns:
        float.

    Example:

    >>> rope_theta({"rope_parameters": {"rope_theta": 5e5}})
    500000.0
    """
    old_spelling = look_up(config, "rope_theta", default)
    new_spelling = rope_settings(config, "rope_parameters").get("rope_theta")
    return float(old_spelling if new_spelling is None else new_spelling)


def read_plain_rope(config, default=10_000.0):
    """Read the rotary base where positions are not scaled.

    Args:
        config: dict.
        default: float, if there is none.

    Returns:
        dict with `rope_max_wavelength`.

    Raises:
        ValueError: If positions are scaled in a way we do not know.

    Example:

    >>> read_plain_rope({"rope_theta": 1e6})
    {'rope_max_wavelength': 1000000.0}
    """
    check_plain_rope(config)
    return {"rope_max_wavelength": rope_theta(config, default)}


def write_plain_rope(arguments):
    """Write the rotary base in both spellings.

    Args:
        arguments: dict with `rope_max_wavelength`.

    Returns:
        dict for `config.json`.

    Example:

    >>> write_plain_rope({"rope_max_wavelength": 5e5})["rope_theta"]
    500000.0
    """
    theta = arguments["rope_max_wavelength"]
    return {
        "rope_theta": theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": theta},
    }


def check_plain_rope(config):
    """Raise if the positions are scaled in a way we do not know.

    Args:
        config: dict.

    Raises:
        ValueError: If they are.

    Example:

    >>> check_plain_rope({"rope_theta": 1e6, "rope_scaling": None})
    """
    for key in SPELLINGS:
        scaling = rope_settings(config, key)
        if rope_kind(scaling) != "default":
            raise ValueError(
                "Expected unscaled rotary positions. Received: "
                f"{key}={scaling}. This architecture is not known with them."
            )
