"""The architectures that are known: classes register themselves here.

A task registers the `model_type`s of published folders that it loads, and a
backbone its presets, as soon as the class is made.
"""

MODEL_TYPES: dict[str, type] = {}
PRESETS: dict[str, tuple[type, dict]] = {}
"""The published sizes: a name, its backbone class and constructor arguments."""


def register_task(task):
    """Note which published folders a task loads.

    Args:
        task: class with a `backbone_cls` that reads published folders.
    """
    for model_type in task.backbone_cls.model_types():
        MODEL_TYPES[model_type] = task


def register_presets(backbone_class, presets):
    """Note the presets of a backbone.

    Args:
        backbone_class: the class.
        presets: dict from a preset's name to constructor arguments.
    """
    for name, config in presets.items():
        PRESETS[name] = (backbone_class, config)


def task_class(config):
    """Find the class that loads a published model.

    Args:
        config: dict, as from `keras_moe.checkpoints.read_config`.

    Returns:
        A subclass of `SparseCausalLM` or `SwitchSeq2SeqLM`.

    Raises:
        ValueError: If the architecture is unknown; lists the known ones.

    Example:

    >>> import keras_moe.models
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


def preset(name):
    """Look up a preset.

    Args:
        name: such as `"mixtral_8x7b"`.

    Returns:
        The backbone class and a copy of its constructor arguments.

    Raises:
        ValueError: If the name is unknown; lists the known ones.

    Example:

    >>> import keras_moe.models
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
