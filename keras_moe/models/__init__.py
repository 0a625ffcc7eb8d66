"""Complete models on keras-hub's base classes."""

try:
    import keras_hub as keras_hub
except ImportError as error:
    raise ImportError(
        "keras_moe.models needs keras-hub: pip install 'keras-moe[hub]'"
    ) from error

from keras_moe.models.mixtral import MIXTRAL_PRESETS
from keras_moe.models.mixtral import MixtralBackbone
from keras_moe.models.mixtral import MixtralCausalLM
from keras_moe.models.parameter_counts import ParameterCounts
from keras_moe.models.parameter_counts import parameter_counts
from keras_moe.models.presets import PRESETS
from keras_moe.models.presets import preset
from keras_moe.models.switch import SWITCH_PRESETS
from keras_moe.models.switch import SwitchBackbone
from keras_moe.models.switch import SwitchClassifier
from keras_moe.models.switch import SwitchSeq2SeqLM

__all__ = [
    "MIXTRAL_PRESETS",
    "PRESETS",
    "SWITCH_PRESETS",
    "MixtralBackbone",
    "MixtralCausalLM",
    "ParameterCounts",
    "SwitchBackbone",
    "SwitchClassifier",
    "SwitchSeq2SeqLM",
    "parameter_counts",
    "preset",
]
