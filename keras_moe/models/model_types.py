"""Which class loads which `model_type` of a published `config.json`."""

from keras_moe.models.mixtral.mixtral_causal_lm import MixtralCausalLM

PUBLISHED = (MixtralCausalLM,)

MODEL_TYPES = {
    model_type: task
    for task in PUBLISHED
    for model_type in task.backbone_cls.architecture.model_types
}


def task_class(config):
    """Find the class that loads a published model.

    Args:
        config: dict, the contents of `config.json`.

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
