"""`keras-moe export`: write a SavedModel and verify it."""

from pathlib import Path
from typing import Annotated

import typer

from keras_moe.cli.backend import import_models
from keras_moe.cli.console import make_console


def export(
    model: Annotated[
        Path, typer.Argument(help="A .keras file or a run folder of `train`.")
    ],
    path: Annotated[
        Path, typer.Argument(help="Folder of all versions, for TF Serving.")
    ],
    version: Annotated[
        int, typer.Option(min=1, help="Version; TF Serving loads the highest.")
    ] = 1,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing version.")
    ] = False,
    verify: Annotated[
        bool, typer.Option(help="Compare it with the model, without Keras.")
    ] = True,
    int8: Annotated[
        bool, typer.Option("--int8", help="Round the experts to 8 bits.")
    ] = False,
):
    """Export a model as a SavedModel for TF Serving."""
    from keras_moe.cli.language_model import load_model
    from keras_moe.cli.language_model import model_file

    file = model_file(model)
    import_models()
    write(
        load_model(file),
        path,
        version=version,
        overwrite=overwrite,
        verify=verify,
        weights="int8" if int8 else None,
    )


def write(model, path, version=1, overwrite=False, verify=True, weights=None):
    """Export and verify a model, and print the result.

    Args:
        model: a built Keras model.
        path: folder that will hold `<version>/`.
        version: int.
        overwrite: bool, replace a version that exists.
        verify: bool, load it without Keras and compare before it appears.
        weights: `None`, or `"int8"` to round the experts.

    Returns:
        float, the largest difference, or `None` if not verified.

    Raises:
        ValueError: If the version exists and `overwrite` is not set.
        RuntimeError: If the answers differ.
    """
    from keras_moe.export import export_saved_model
    from keras_moe.export.description import read_description

    console = make_console()
    folder = export_saved_model(
        model,
        path,
        version=version,
        overwrite=overwrite,
        verify=verify,
        weights=weights,
    )
    console.print(f"SavedModel: {folder}")
    return read_description(folder).get("largest_difference")
