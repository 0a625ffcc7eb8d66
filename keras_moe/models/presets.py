"""All presets under their names."""

from keras_moe.models.dbrx.dbrx_backbone import DbrxBackbone
from keras_moe.models.dbrx.dbrx_presets import DBRX_PRESETS
from keras_moe.models.deepseek_v2.deepseek_v2_backbone import DeepSeekV2Backbone
from keras_moe.models.deepseek_v2.deepseek_v2_presets import DEEPSEEK_V2_PRESETS
from keras_moe.models.deepseek_v3.deepseek_v3_backbone import DeepSeekV3Backbone
from keras_moe.models.deepseek_v3.deepseek_v3_presets import DEEPSEEK_V3_PRESETS
from keras_moe.models.grok1.grok1_backbone import Grok1Backbone
from keras_moe.models.grok1.grok1_presets import GROK1_PRESETS
from keras_moe.models.mixtral.mixtral_backbone import MixtralBackbone
from keras_moe.models.mixtral.mixtral_presets import MIXTRAL_PRESETS
from keras_moe.models.olmoe.olmoe_backbone import OLMoEBackbone
from keras_moe.models.olmoe.olmoe_presets import OLMOE_PRESETS
from keras_moe.models.openmoe.openmoe_backbone import OpenMoEBackbone
from keras_moe.models.openmoe.openmoe_presets import OPENMOE_PRESETS
from keras_moe.models.qwen2_moe.qwen2_moe_backbone import Qwen2MoEBackbone
from keras_moe.models.qwen2_moe.qwen2_moe_presets import QWEN2_MOE_PRESETS
from keras_moe.models.qwen3_moe.qwen3_moe_backbone import Qwen3MoEBackbone
from keras_moe.models.qwen3_moe.qwen3_moe_presets import QWEN3_MOE_PRESETS
from keras_moe.models.switch.switch_backbone import SwitchBackbone
from keras_moe.models.switch.switch_presets import SWITCH_PRESETS

PRESETS = {
    name: (backbone_class, config)
    for backbone_class, presets in (
        (DbrxBackbone, DBRX_PRESETS),
        (DeepSeekV2Backbone, DEEPSEEK_V2_PRESETS),
        (DeepSeekV3Backbone, DEEPSEEK_V3_PRESETS),
        (Grok1Backbone, GROK1_PRESETS),
        (MixtralBackbone, MIXTRAL_PRESETS),
        (OLMoEBackbone, OLMOE_PRESETS),
        (OpenMoEBackbone, OPENMOE_PRESETS),
        (Qwen2MoEBackbone, QWEN2_MOE_PRESETS),
        (Qwen3MoEBackbone, QWEN3_MOE_PRESETS),
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
