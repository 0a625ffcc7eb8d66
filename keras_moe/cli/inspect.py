"""`keras-moe inspect`: how large a model is and what a token costs."""

import json
import zipfile
from pathlib import Path
from typing import Annotated

import typer

from keras_moe.cli.console import make_console


def inspect(
    model: Annotated[
        str,
        typer.Argument(
            help="A preset, a .keras file, a run folder of `train`, or a "
            "Hugging Face folder or hf:// handle."
        ),
    ],
    tokens: Annotated[
        int, typer.Option(min=1, help="Tokens per group, for the capacity.")
    ] = 1024,
    capacity_factor: Annotated[
        float, typer.Option(help="Slots per expert over an equal share.")
    ] = 1.25,
):
    """Show parameters, active parameters, FLOPs per token and capacity."""
    from rich.table import Table

    from keras_moe.cli.backend import import_models

    import_models()
    from keras_moe.models import parameter_counts
    from keras_moe.routing import expert_capacity

    name, backbone_class, config = find(model)
    counts = parameter_counts(backbone_class, **config)
    num_experts = config["num_experts"]
    top_k = config.get("top_k", 2)
    capacity = expert_capacity(capacity_factor, tokens, top_k, num_experts)
    table = Table(title=name, show_header=False)
    table.add_row("architecture", backbone_class.__name__)
    table.add_row("parameters", _with_unit(counts.total))
    table.add_row("active per token", _with_unit(counts.active))
    table.add_row(
        "FLOPs per token, forward", _with_unit(counts.flops_per_token)
    )
    if counts.cache_bytes_per_token is not None:
        table.add_row(
            "cache per token, bfloat16",
            f"{counts.cache_bytes_per_token:,} bytes",
        )
    table.add_row("experts", f"{num_experts}, {top_k} per token")
    table.add_row(
        "capacity",
        f"{capacity} slots per expert for {tokens} tokens "
        f"at factor {capacity_factor}",
    )
    make_console().print(table)


def find(model):
    """Find a model's class and configuration without loading weights.

    Args:
        model: preset name, `.keras` file, run folder, published folder or
            `hf://` handle.

    Returns:
        Name to show, backbone class, constructor arguments.

    Raises:
        ValueError: If it is neither a preset nor a model of this package.
    """
    import keras

    from keras_moe import models
    from keras_moe.checkpoints.checkpoint_folder import CONFIG
    from keras_moe.cli.language_model import model_file
    from keras_moe.models.family_router import with_router
    from keras_moe.models.preset_folder import open_preset
    from keras_moe.models.registry import task_class

    if model in models.PRESETS:
        return model, *models.preset(model)
    if model.startswith("hf://") or (Path(model) / CONFIG).is_file():
        folder = open_preset(model, weights=False)
        if folder is not None:
            config = folder.config
            backbone_class = task_class(config).backbone_cls
            checkpoint_format = backbone_class.format_of(config)
            arguments = backbone_class.read_arguments(checkpoint_format, config)
            return model, backbone_class, arguments
    if not Path(model).exists():
        raise ValueError(
            "Expected the name of a preset, one of "
            f"{sorted(models.PRESETS)}, or a path. Received: {model!r}"
        )
    file = model_file(model)
    try:
        with zipfile.ZipFile(file) as archive:
            saved = json.loads(archive.read("config.json"))
    except (zipfile.BadZipFile, KeyError) as error:
        raise ValueError(
            f"Expected a .keras file. Received: {file}, which is damaged or "
            f"something else ({error}). Save the model again."
        ) from error
    saved = saved["config"].get("backbone", saved)
    backbone_class = keras.saving.get_registered_object(
        saved["registered_name"]
    )
    if not hasattr(backbone_class, "parameter_counts"):
        raise ValueError(
            "Expected a model of keras_moe.models. Received: "
            f"{saved['registered_name'] or saved['class_name']}. Use "
            "`model.summary()` for other models."
        )
    return (
        str(file),
        backbone_class,
        with_router(saved["config"], backbone_class),
    )


def _with_unit(number):
    for unit, size in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number:,} ({number / size:.1f}{unit})"
    return f"{number:,}"
