"""Where a preset lies, and whose layout it has."""

import os
from pathlib import Path

from keras_moe.checkpoints.checkpoint_folder import CONFIG
from keras_moe.checkpoints.checkpoint_folder import CheckpointFolder
from keras_moe.checkpoints.checkpoint_folder import read_json
from keras_moe.checkpoints.exchange import restore
from keras_moe.checkpoints.keras_hub_folder import KerasHubFolder

HUGGING_FACE = "hf://"
KERAS_HUB = "keras_hub>"  # Its classes are registered so.
# Of Hugging Face's layout, and of keras-hub's, which is shared there too.
FILES = ("*.json", "*.jinja", "*.model", "merges.txt", "vocab.txt", "assets/*")
WEIGHTS = ("*.safetensors", "*.weights.h5")


def published_folder(preset, weights=True):
    """Find the folder of a preset that has to be translated.

    Args:
        preset: path or `hf://` handle.
        weights: bool, whether a handle's weights are downloaded too.

    Returns:
        `pathlib.Path` of a folder of Hugging Face or of keras-hub's own
        classes; `None` if the preset names a class of ours, or no folder.

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
    restore(path)
    if not (path / CONFIG).is_file():
        raise ValueError(
            f"Expected {CONFIG} in the folder of a preset. Received: {preset}, "
            "which has none."
        )
    config = read_json(path / CONFIG)
    # A class of ours loads itself; its configuration names it.
    name = config.get("registered_name", KERAS_HUB)
    return path if str(name).startswith(KERAS_HUB) else None


def open_folder(path):
    """Open a folder of keras-hub or of Hugging Face.

    Args:
        path: folder.

    Returns:
        `KerasHubFolder` or `CheckpointFolder`.

    Raises:
        ValueError: If a file is missing or damaged.
    """
    return (KerasHubFolder if is_of_keras_hub(path) else CheckpointFolder)(path)


def is_of_keras_hub(path):
    """Tell whether a folder's `config.json` names a Keras class.

    Args:
        path: folder.

    Returns:
        bool.
    """
    return "registered_name" in read_json(Path(path) / CONFIG)


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
