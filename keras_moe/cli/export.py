"""`keras-moe export`: write a SavedModel and check it."""

from pathlib import Path
from typing import Annotated

import typer


def export(
    model: Annotated[
        Path, typer.Argument(help="A .keras file or a folder of `train`.")
    ],
    path: Annotated[
        Path, typer.Argument(help="Folder that TF Serving will watch.")
    ],
    version: Annotated[int, typer.Option(min=1)] = 1,
    verify: Annotated[
        bool, typer.Option(help="Compare with the model, without Keras.")
    ] = True,
):
    """Export a model as a SavedModel for TF Serving."""
    from keras_moe.cli.language_model import load_model

    write(load_model(model), path, version=version, verify=verify)


def write(model, path, version=1, overwrite=False, verify=True):
    """Export and verify, with words for the reader.

    Args:
        model: a built Keras model.
        path: folder that will hold `<version>/`.
        version: int.
        overwrite: bool, replace a version that exists.
        verify: bool, load it without Keras and compare.

    Returns:
        float, the largest difference, or `None` if not verified.

    Raises:
        ValueError: If the version exists and `overwrite` is not set.
    """
    from rich.console import Console

    from keras_moe.export import export_saved_model
    from keras_moe.export import verify_saved_model

    console = Console(highlight=False, soft_wrap=True)
    folder = export_saved_model(
        model, path, version=version, overwrite=overwrite
    )
    console.print(f"SavedModel: {folder}")
    if not verify:
        return None
    result = verify_saved_model(model, folder)
    console.print(
        "Verified in a process without Keras: largest difference "
        f"{result.largest_difference:.1e}."
    )
    return result.largest_difference
