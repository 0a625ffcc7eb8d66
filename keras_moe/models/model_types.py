"""Which class loads which `model_type` of a published `config.json`."""

from keras_moe.models.mixtral.mixtral_causal_lm import MixtralCausalLM

PUBLISHED = (MixtralCausalLM,)

# Model type -> name of the class.
MODEL_TYPES = {
    model_type: task.__name__
    for task in PUBLISHED
    for model_type in (
        task.backbone_cls.architecture.model_type,
        *task.backbone_cls.architecture.also_model_types,
    )
}
