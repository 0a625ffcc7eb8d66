"""`keras-moe demo`: from text to a served model, end to end."""

from pathlib import Path
from typing import Annotated

import typer

from keras_moe.cli.backend import import_models
from keras_moe.cli.console import make_console
from keras_moe.cli.fit import describe
from keras_moe.cli.fit import fit
from keras_moe.cli.run_folder import RunFolder
from keras_moe.cli.training import TrainingSettings

PROMPT = "def __init__(self, "


def demo(
    run_dir: Annotated[
        Path, typer.Option(help="Folder for model, logs and export.")
    ] = Path("runs/demo"),
    steps: Annotated[
        int, typer.Option(min=1, help="Number of training steps.")
    ] = TrainingSettings().steps,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Train again from the start.")
    ] = False,
):
    """Train on real text, generate, export and verify, in a few minutes.

    A second demo in the same folder continues a run that was stopped.
    """
    from keras_moe.cli.export import write
    from keras_moe.cli.generate import continue_prompt

    import_models()
    console = make_console()
    folder = RunFolder(run_dir)
    console.rule("1. Train")
    model = trained(console, folder, TrainingSettings(steps=steps), overwrite)
    console.rule("2. Generate")
    console.print(continue_prompt(model, PROMPT, num_tokens=300), markup=False)
    console.rule("3. Export and verify")
    write(model, run_dir / "saved_model", overwrite=True)
    console.rule("4. Next steps")
    console.print(f"Serve:       {run_dir / 'saved_model'}")
    console.print(f"TensorBoard: tensorboard --logdir {folder.logs}")


def trained(console, folder, settings, overwrite=False):
    """Train the demo's model, resume its run, or load it.

    Args:
        console: `rich.console.Console`.
        folder: `RunFolder`.
        settings: `TrainingSettings`.
        overwrite: bool, whether to replace what is in the folder.

    Returns:
        The trained model.

    Raises:
        ValueError: If the folder holds a run with other settings.
    """
    from keras_moe.cli.checkpoint import read_record
    from keras_moe.cli.language_model import load_model

    if overwrite or not folder.holds_a_run():
        return fit(settings, folder, overwrite=overwrite)
    record = {}
    if folder.has_checkpoint():
        record = read_record(folder.checkpoint)
    if record.get("settings") != settings.to_dict():
        raise ValueError(
            "Expected a folder without a run, or with a run of this demo. "
            f"Received: --run-dir {folder.path}, which holds "
            f"{describe(folder)} with other settings. Add --overwrite to start "
            "again, or choose another folder."
        )
    if record["step"] == settings.steps:
        console.print(
            f"Using {folder.path}, which holds {describe(folder)}; "
            "--overwrite trains again."
        )
        return load_model(folder.model)
    return fit(settings, folder, resume=True)
