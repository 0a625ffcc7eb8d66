"""A SavedModel at a path of its own, where Keras' own export writes it."""

import os
import pathlib

from keras_moe.export.saved_model import export_saved_model
from keras_moe.export.version_folder import clean_up
from keras_moe.export.version_folder import staged_folder


def write_saved_model_folder(model, path, **options):
    """Write a SavedModel to a folder, replacing an older one.

    Args:
        model: a built `keras.Model`.
        path: string or `pathlib.Path`, the folder of the SavedModel.
        **options: of `export_saved_model`.

    Returns:
        A `pathlib.Path`.

    Raises:
        ValueError: if something other than a SavedModel is there, and as
            `export_saved_model`.
    """
    target = pathlib.Path(path)
    is_other = target.is_file() or (target.is_dir() and any(target.iterdir()))
    if is_other and not (target / "saved_model.pb").is_file():
        raise ValueError(
            "Expected path to be free, or a SavedModel to replace. Received: "
            f"path={str(path)!r}, which is something else. Write "
            f"{str(target / '1')!r} to add a version to a folder of versions."
        )
    clean_up(target.parent)
    with staged_folder(target, overwrite=True) as staging:
        versions = staging / "versions"
        version = export_saved_model(model, versions, **options)
        os.rename(version, staging / "saved_model")
    return target
