"""`keras-moe demo`: the whole way from text to a served model."""

from pathlib import Path
from typing import Annotated

import typer

from keras_moe.cli.language_model import ModelSize

PROMPT = "def __init__(self, "


def demo(
    run_dir: Annotated[
        Path, typer.Option(help="Folder for everything that is written.")
    ] = Path("runs/demo"),
    steps: Annotated[int, typer.Option(min=1, help="Training steps.")] = 900,
):
    """Train on real text, generate, export, verify: some minutes."""
    from rich.console import Console

    from keras_moe.cli.export import write
    from keras_moe.cli.generate import continue_prompt
    from keras_moe.cli.train import fit

    console = Console(highlight=False, soft_wrap=True)
    console.rule("1. Train")
    model, _ = fit(
        ModelSize(),
        run_dir=run_dir,
        steps=steps,
        batch_size=16,
        sequence_length=128,
        learning_rate=3e-3,
    )
    console.rule("2. Generate")
    console.print(continue_prompt(model, PROMPT, num_tokens=300), markup=False)
    console.rule("3. Export and verify")
    write(model, run_dir / "saved_model", overwrite=True)
    console.rule("4. Look")
    console.print(f"Serve:       {run_dir / 'saved_model'}")
    console.print(f"TensorBoard: tensorboard --logdir {run_dir / 'logs'}")
