"""`keras-moe train`: train a small sparse language model on text."""

from pathlib import Path
from typing import Annotated
from typing import Literal

import typer

from keras_moe.cli.fit import fit
from keras_moe.cli.fit import settings_to_resume
from keras_moe.cli.language_model import ModelSize
from keras_moe.cli.run_folder import RunFolder
from keras_moe.cli.training import TrainingSettings

_DEFAULT = TrainingSettings()
_SIZE = ModelSize()


def train(
    context: typer.Context,
    run_dir: Annotated[
        Path, typer.Option(help="Folder for model, checkpoint and logs.")
    ] = Path("runs/train"),
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in --run-dir.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the run in --run-dir.")
    ] = False,
    save_every: Annotated[
        float, typer.Option(min=0.0, help="Seconds between saves.")
    ] = 60.0,
    text: Annotated[
        Path | None,
        typer.Option(
            help="Text file or folder; default: the Python standard library."
        ),
    ] = None,
    steps: Annotated[
        int, typer.Option(min=1, help="Number of training steps.")
    ] = _DEFAULT.steps,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Windows of text per step.")
    ] = _DEFAULT.batch_size,
    sequence_length: Annotated[
        int, typer.Option(min=2, help="Bytes per window.")
    ] = _DEFAULT.sequence_length,
    learning_rate: Annotated[
        float, typer.Option(min=0.0, help="Peak rate, after the warm-up.")
    ] = _DEFAULT.learning_rate,
    hidden_dim: Annotated[
        int, typer.Option(min=1, help="Width of the model.")
    ] = _SIZE.hidden_dim,
    num_layers: Annotated[
        int, typer.Option(min=1, help="Number of decoder layers.")
    ] = _SIZE.num_layers,
    num_query_heads: Annotated[
        int, typer.Option(min=1, help="Number of attention heads.")
    ] = _SIZE.num_query_heads,
    num_key_value_heads: Annotated[
        int, typer.Option(min=1, help="Number of key/value heads.")
    ] = _SIZE.num_key_value_heads,
    num_experts: Annotated[
        int, typer.Option(min=1, help="Experts per layer.")
    ] = _SIZE.num_experts,
    top_k: Annotated[
        int, typer.Option(min=1, help="Experts per token.")
    ] = _SIZE.top_k,
    intermediate_dim: Annotated[
        int, typer.Option(min=1, help="Width of one expert.")
    ] = _SIZE.intermediate_dim,
    router: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Router, see `keras-moe routers`; default: softmax top-k.",
        ),
    ] = None,
    balancing: Annotated[
        str | None,
        typer.Option(
            metavar="NAME[,NAME]",
            help="Balancing rules, see `keras-moe balancing`; `none` for "
            "none; default: the router's own.",
        ),
    ] = None,
    capacity_factor: Annotated[
        float | None,
        typer.Option(
            help="Slots per expert over an equal share; default: no limit."
        ),
    ] = None,
    dtype: Annotated[
        Literal["float32", "mixed_bfloat16", "mixed_float16"],
        typer.Option(
            metavar="POLICY",
            help="float32, mixed_bfloat16 or mixed_float16 (not with JAX on "
            "a CPU).",
        ),
    ] = "float32",
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of weights and windows.")
    ] = 0,
    mesh: Annotated[
        str | None,
        typer.Option(
            metavar="data=N,expert=N",
            help="Devices that share the batch, and that share the experts, "
            "on JAX; default: one device.",
        ),
    ] = None,
):
    """Train a byte-level Mixtral-like model on text.

    Ctrl-C saves the model; --resume continues the run.
    """
    size = ModelSize(
        hidden_dim=hidden_dim,
        num_layers=num_layers,
        num_query_heads=num_query_heads,
        num_key_value_heads=num_key_value_heads,
        num_experts=num_experts,
        top_k=top_k,
        intermediate_dim=intermediate_dim,
        capacity_factor=capacity_factor,
        router=router,
        balancing=balancing,
    )
    settings = TrainingSettings(
        size=size,
        text=None if text is None else str(text.resolve()),
        steps=steps,
        batch_size=batch_size,
        sequence_length=sequence_length,
        learning_rate=learning_rate,
        dtype=dtype,
        seed=seed,
    )
    if resume and overwrite:
        raise ValueError(
            "Expected one of --resume and --overwrite. Received: both. "
            "--resume continues a run, --overwrite starts again."
        )
    folder = RunFolder(run_dir)
    if resume:
        settings = settings_to_resume(folder, settings, _given(context))
    fit(
        settings,
        folder,
        resume=resume,
        overwrite=overwrite,
        save_every=save_every,
        mesh=mesh,
    )


def _given(context):
    """List the parameters that were written on the command line."""
    return [
        name
        for name in context.params
        if context.get_parameter_source(name).name != "DEFAULT"
    ]
