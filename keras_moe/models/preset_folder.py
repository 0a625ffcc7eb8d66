"""Where a preset lies, and whose layout it has."""

import os
from pathlib import Path

from keras_moe.checkpoints.checkpoint_folder import CONFIG
from keras_moe.checkpoints.checkpoint_folder import read_json

HUGGING_FACE = "hf://"
FILES = ("*.json", "tokenizer.model", "spiece.model")
WEIGHTS = ("*.safetensors",)


def published_folder(preset, weights=True):
    """Find the folder of a preset in the layout of Hugging Face.

    Args:
        preset: path or `hf://` handle.
        weights: bool, whether a handle's weights are downloaded too.

    Returns:
        `pathlib.Path`; `None` if the preset is keras-hub's.

    Raises:
        ValueError: If the preset is a folder without `config.json`, a file,
            or a `pathlib.Path` that does not exist.
    """
    name = str(preset)
    if name.startswith(HUGGING_FACE):
        path = _download(name.removeprefix(HUGGING_FACE), weights)
    else:
        path = Path(preset)
        if not path.is_dir():
            _check_not_a_path(preset, path)
            return None
    if not (path / CONFIG).is_file():
        raise ValueError(
            f"Expected {CONFIG} in the folder of a preset. Received: {preset}, "
            "which has none."
        )
    config = read_json(path / CONFIG)
    # keras-hub's own configuration names a class instead.
    return None if "registered_name" in config else path


def _check_not_a_path(preset, path):
    # Other strings may be keras-hub's names.
    if path.is_file() or isinstance(preset, os.PathLike):
        found = "a file" if path.is_file() else "which does not exist"
        raise ValueError(
            f"Expected the folder of a preset. Received: {preset}, {found}."
        )


def _download(handle, weights):
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise ImportError(
            "hf:// handles need: pip install huggingface_hub"
        ) from error
    patterns = [*FILES, *(WEIGHTS if weights else ())]
    return Path(snapshot_download(handle, allow_patterns=patterns))
