"""Which class loads which `model_type` of a published folder."""

from keras_moe.models.dbrx.dbrx_causal_lm import DbrxCausalLM
from keras_moe.models.deepseek_v2.deepseek_v2_causal_lm import (
    DeepSeekV2CausalLM,
)
from keras_moe.models.deepseek_v3.deepseek_v3_causal_lm import (
    DeepSeekV3CausalLM,
)
from keras_moe.models.grok1.grok1_causal_lm import Grok1CausalLM
from keras_moe.models.mixtral.mixtral_causal_lm import MixtralCausalLM
from keras_moe.models.olmoe.olmoe_causal_lm import OLMoECausalLM
from keras_moe.models.openmoe.openmoe_causal_lm import OpenMoECausalLM
from keras_moe.models.qwen2_moe.qwen2_moe_causal_lm import Qwen2MoECausalLM
from keras_moe.models.qwen3_moe.qwen3_moe_causal_lm import Qwen3MoECausalLM
from keras_moe.models.switch.switch_seq2seq_lm import SwitchSeq2SeqLM

PUBLISHED = (
    DbrxCausalLM,
    DeepSeekV2CausalLM,
    DeepSeekV3CausalLM,
    Grok1CausalLM,
    MixtralCausalLM,
    OLMoECausalLM,
    OpenMoECausalLM,
    Qwen2MoECausalLM,
    Qwen3MoECausalLM,
    SwitchSeq2SeqLM,
)

MODEL_TYPES = {
    model_type: task
    for task in PUBLISHED
    for model_type in task.backbone_cls.model_types()
}


def task_class(config):
    """Find the class that loads a published model.

    Args:
        config: dict, as from `keras_moe.checkpoints.read_config`.

    Returns:
        A subclass of `SparseCausalLM` or `SwitchSeq2SeqLM`.

    Raises:
        ValueError: If the architecture is unknown; lists the known ones.

    Example:

    >>> task_class({"model_type": "mixtral"}).__name__
    'MixtralCausalLM'
    """
    model_type = config.get("model_type")
    if model_type not in MODEL_TYPES:
        raise ValueError(
            "Expected the config.json of a known architecture, model_type one "
            f"of {sorted(MODEL_TYPES)}. Received: model_type={model_type!r}."
        )
    return MODEL_TYPES[model_type]
