"""All presets under their names."""

from keras_moe.models.mixtral.mixtral_backbone import MixtralBackbone
from keras_moe.models.mixtral.mixtral_presets import MIXTRAL_PRESETS
from keras_moe.models.switch.switch_backbone import SwitchBackbone
from keras_moe.models.switch.switch_presets import SWITCH_PRESETS

PRESETS = {
    name: (backbone_class, config)
    for backbone_class, presets in (
        (MixtralBackbone, MIXTRAL_PRESETS),
        (SwitchBackbone, SWITCH_PRESETS),
    )
    for name, config in presets.items()
}


def preset(name):
    """Look up a preset.

    Args:
        name: such as `"mixtral_8x7b"`.

    Returns:
        The backbone class and a copy of its constructor arguments.

    Raises:
        ValueError: If the name is unknown; lists the known ones.

    Example:

    >>> backbone_class, config = preset("mixtral_8x7b")
    >>> backbone_class.__name__, config["num_experts"]
    ('MixtralBackbone', 8)
    """
    if name not in PRESETS:
        raise ValueError(
            f"Expected the name of a preset, one of {sorted(PRESETS)}. "
            f"Received: {name!r}"
        )
    backbone_class, config = PRESETS[name]
    return backbone_class, dict(config)
