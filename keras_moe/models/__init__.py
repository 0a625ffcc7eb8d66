"""Complete models on keras-hub's base classes."""

try:
    import keras_hub as keras_hub
except ImportError as error:
    raise ImportError(
        "keras_moe.models needs keras-hub: pip install 'keras-moe[hub]'"
    ) from error

from keras_moe.models.dbrx import DBRX_PRESETS
from keras_moe.models.dbrx import DbrxBackbone
from keras_moe.models.dbrx import DbrxCausalLM
from keras_moe.models.deepseek_v2 import DEEPSEEK_V2_PRESETS
from keras_moe.models.deepseek_v2 import DeepSeekV2Backbone
from keras_moe.models.deepseek_v2 import DeepSeekV2CausalLM
from keras_moe.models.deepseek_v3 import DEEPSEEK_V3_PRESETS
from keras_moe.models.deepseek_v3 import DeepSeekV3Backbone
from keras_moe.models.deepseek_v3 import DeepSeekV3CausalLM
from keras_moe.models.grok1 import GROK1_PRESETS
from keras_moe.models.grok1 import Grok1Backbone
from keras_moe.models.grok1 import Grok1CausalLM
from keras_moe.models.mixtral import MIXTRAL_PRESETS
from keras_moe.models.mixtral import MixtralBackbone
from keras_moe.models.mixtral import MixtralCausalLM
from keras_moe.models.next_token import NextToken
from keras_moe.models.olmoe import OLMOE_PRESETS
from keras_moe.models.olmoe import OLMoEBackbone
from keras_moe.models.olmoe import OLMoECausalLM
from keras_moe.models.openmoe import OPENMOE_PRESETS
from keras_moe.models.openmoe import OpenMoEBackbone
from keras_moe.models.openmoe import OpenMoECausalLM
from keras_moe.models.parameter_counts import ParameterCounts
from keras_moe.models.parameter_counts import parameter_counts
from keras_moe.models.qwen2_moe import QWEN2_MOE_PRESETS
from keras_moe.models.qwen2_moe import Qwen2MoEBackbone
from keras_moe.models.qwen2_moe import Qwen2MoECausalLM
from keras_moe.models.qwen3_moe import QWEN3_MOE_PRESETS
from keras_moe.models.qwen3_moe import Qwen3MoEBackbone
from keras_moe.models.qwen3_moe import Qwen3MoECausalLM
from keras_moe.models.registry import PRESETS
from keras_moe.models.registry import preset
from keras_moe.models.routed_experts import RoutedExperts
from keras_moe.models.sparse_causal_lm import SparseCausalLM
from keras_moe.models.sparse_causal_lm_preprocessor import (
    SparseCausalLMPreprocessor,
)
from keras_moe.models.switch import SWITCH_PRESETS
from keras_moe.models.switch import SwitchBackbone
from keras_moe.models.switch import SwitchClassifier
from keras_moe.models.switch import SwitchSeq2SeqLM
from keras_moe.models.switch import SwitchTextClassifierPreprocessor
from keras_moe.models.vision_moe import VISION_MOE_PRESETS
from keras_moe.models.vision_moe import VisionMoEBackbone
from keras_moe.models.vision_moe import VisionMoEClassifier

__all__ = [
    "DBRX_PRESETS",
    "DEEPSEEK_V2_PRESETS",
    "DEEPSEEK_V3_PRESETS",
    "DbrxBackbone",
    "DbrxCausalLM",
    "DeepSeekV2Backbone",
    "DeepSeekV2CausalLM",
    "DeepSeekV3Backbone",
    "DeepSeekV3CausalLM",
    "GROK1_PRESETS",
    "Grok1Backbone",
    "Grok1CausalLM",
    "MIXTRAL_PRESETS",
    "MixtralBackbone",
    "MixtralCausalLM",
    "NextToken",
    "OLMOE_PRESETS",
    "OLMoEBackbone",
    "OLMoECausalLM",
    "OPENMOE_PRESETS",
    "OpenMoEBackbone",
    "OpenMoECausalLM",
    "PRESETS",
    "ParameterCounts",
    "QWEN2_MOE_PRESETS",
    "QWEN3_MOE_PRESETS",
    "Qwen2MoEBackbone",
    "Qwen2MoECausalLM",
    "Qwen3MoEBackbone",
    "Qwen3MoECausalLM",
    "RoutedExperts",
    "SWITCH_PRESETS",
    "SparseCausalLM",
    "SparseCausalLMPreprocessor",
    "SwitchBackbone",
    "SwitchClassifier",
    "SwitchSeq2SeqLM",
    "SwitchTextClassifierPreprocessor",
    "VISION_MOE_PRESETS",
    "VisionMoEBackbone",
    "VisionMoEClassifier",
    "parameter_counts",
    "preset",
]
