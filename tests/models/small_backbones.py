"""A small backbone of every architecture, for tests of what all share."""

from keras_moe import models
from tests.models import backbone_contract

SMALL = {**backbone_contract.SMALL, "top_k": 2}
LATENT = {
    name: value
    for name, value in {**SMALL, "num_experts": 8}.items()
    if name != "num_key_value_heads"
} | {
    "dense_intermediate_dim": 20,
    "key_value_latent_dim": 8,
    "nope_head_dim": 4,
    "rope_head_dim": 2,
    "value_head_dim": 4,
}
SHARED = {**SMALL, "shared_intermediate_dim": 12}
SWITCH = {
    "vocabulary_size": 48,
    "num_layers": 2,
    "num_heads": 2,
    "hidden_dim": 16,
    "intermediate_dim": 24,
    "num_experts": 4,
}
DECODERS = {
    "dbrx": (models.DbrxBackbone, models.DbrxCausalLM, SMALL),
    "deepseek_v2": (
        models.DeepSeekV2Backbone,
        models.DeepSeekV2CausalLM,
        LATENT,
    ),
    "deepseek_v3": (
        models.DeepSeekV3Backbone,
        models.DeepSeekV3CausalLM,
        {**LATENT, "query_latent_dim": 8},
    ),
    "grok1": (models.Grok1Backbone, models.Grok1CausalLM, SMALL),
    "mixtral": (models.MixtralBackbone, models.MixtralCausalLM, SMALL),
    "olmoe": (models.OLMoEBackbone, models.OLMoECausalLM, SMALL),
    "openmoe": (
        models.OpenMoEBackbone,
        models.OpenMoECausalLM,
        {**SMALL, "head_dim": 6, "expert_layer_stride": 2},
    ),
    "qwen2_moe": (models.Qwen2MoEBackbone, models.Qwen2MoECausalLM, SHARED),
    "qwen3_moe": (models.Qwen3MoEBackbone, models.Qwen3MoECausalLM, SMALL),
}
ENCODER_DECODERS = {
    "switch": (models.SwitchBackbone, models.SwitchSeq2SeqLM, SWITCH),
    "switch_untied": (
        models.SwitchBackbone,
        models.SwitchSeq2SeqLM,
        {**SWITCH, "tie_embedding_weights": False},
    ),
    "switch_classifier": (
        models.SwitchBackbone,
        lambda backbone: models.SwitchClassifier(backbone, num_classes=3),
        {**SWITCH, "num_decoder_layers": 0},
    ),
}
ALL = {**DECODERS, **ENCODER_DECODERS}


def make_task(family, **changes):
    """Make a small task by the key of its family."""
    backbone_class, task, arguments = ALL[family]
    return task(backbone_class(**{**arguments, **changes}))


def weight_names(model):
    """List the weights' paths in order, without the model's own name."""
    return [weight.path for weight in model.weights]
