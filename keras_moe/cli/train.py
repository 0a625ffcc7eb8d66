"""`keras-moe train`: fit a small sparse language model on text."""

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
        Path, typer.Option(help="Folder for the model and its logs.")
    ] = Path("runs/train"),
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --run-dir.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the run in --run-dir.")
    ] = False,
    save_every: Annotated[
        float, typer.Option(min=0.0, help="Seconds between two saves.")
    ] = 60.0,
    text: Annotated[
        Path | None,
        typer.Option(
            help="Text file or folder; the Python standard library if absent."
        ),
    ] = None,
    steps: Annotated[
        int, typer.Option(min=1, help="Training steps.")
    ] = _DEFAULT.steps,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Windows per step.")
    ] = _DEFAULT.batch_size,
    sequence_length: Annotated[
        int, typer.Option(min=2, help="Bytes per window.")
    ] = _DEFAULT.sequence_length,
    learning_rate: Annotated[
        float, typer.Option(min=0.0, help="Peak, after the warm-up.")
    ] = _DEFAULT.learning_rate,
    hidden_dim: Annotated[
        int, typer.Option(min=1, help="Width of the model.")
    ] = _SIZE.hidden_dim,
    num_layers: Annotated[
        int, typer.Option(min=1, help="Decoder layers.")
    ] = _SIZE.num_layers,
    num_query_heads: Annotated[
        int, typer.Option(min=1, help="Attention heads.")
    ] = _SIZE.num_query_heads,
    num_key_value_heads: Annotated[
        int, typer.Option(min=1, help="Heads of keys and values.")
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
    capacity_factor: Annotated[
        float | None,
        typer.Option(help="Slots over equal share; dropless if absent."),
    ] = None,
    dtype: Annotated[
        Literal["float32", "mixed_bfloat16", "mixed_float16"],
        typer.Option(
            metavar="POLICY",
            help="float32, mixed_bfloat16, or, except for JAX on a CPU, "
            "mixed_float16.",
        ),
    ] = "float32",
    seed: Annotated[
        int, typer.Option(min=0, help="Of the weights and the windows.")
    ] = 0,
):
    """Train a byte-level Mixtral-like model on text.

    Ctrl-C keeps the model; --resume goes on from there.
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
            "--resume goes on, --overwrite starts again."
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
    )


def _given(context):
    """List the parameters that were written on the command line."""
    return [
        name
        for name in context.params
        if context.get_parameter_source(name).name != "DEFAULT"
    ]
