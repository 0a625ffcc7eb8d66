"""Where a preset lies, and whose layout it has."""

import functools
import os
from pathlib import Path

from keras_moe.checkpoints.checkpoint_folder import CONFIG
from keras_moe.checkpoints.checkpoint_folder import CheckpointFolder
from keras_moe.checkpoints.checkpoint_folder import read_json
from keras_moe.checkpoints.exchange import restore
from keras_moe.checkpoints.keras_hub_folder import KerasHubFolder
from keras_moe.checkpoints.keras_hub_folder import as_config
from keras_moe.checkpoints.published_settings import GENERATION_CONFIG
from keras_moe.checkpoints.published_settings import settings_of

HUGGING_FACE = "hf://"
KERAS_HUB = "keras_hub>"  # Its classes are registered so.
# Of Hugging Face's layout, and of keras-hub's, which is shared there too.
FILES = ("*.json", "*.jinja", "*.model", "merges.txt", "vocab.txt", "assets/*")
WEIGHTS = ("*.safetensors", "*.weights.h5")


class PresetFolder:
    """The folder of a preset that has to be translated, opened once.

    It is in the layout of Hugging Face, or of keras-hub's own classes. Files
    are read when they are asked for, and not twice.

    Args:
        path: folder.

    Attributes:
        path: `pathlib.Path`.

    Example:

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp())
    >>> _ = (path / "config.json").write_text('{"model_type": "mixtral"}')
    >>> folder = PresetFolder(path)
    >>> folder.config, folder.is_of_keras_hub
    ({'model_type': 'mixtral'}, False)
    """

    def __init__(self, path):
        self.path = Path(path)
        self._contents = {}

    @classmethod
    def of(cls, folder):
        """Open a folder that may be open.

        Args:
            folder: path, or `PresetFolder`.

        Returns:
            `PresetFolder`.
        """
        return folder if isinstance(folder, cls) else cls(folder)

    def read(self, name):
        """Read a JSON file.

        Args:
            name: of the file.

        Returns:
            dict, empty if there is no such file.

        Raises:
            ValueError: If it is damaged.
        """
        if name not in self._contents:
            path = self.path / name
            self._contents[name] = read_json(path) if path.is_file() else {}
        return self._contents[name]

    @property
    def is_of_keras_hub(self):
        """bool: whether `config.json` names a Keras class."""
        return "registered_name" in self.read(CONFIG)

    @functools.cached_property
    def config(self):
        """dict: `config.json`, as from `keras_moe.checkpoints.read_config`."""
        return as_config(self.read(CONFIG), self.path)

    @functools.cached_property
    def tensors(self):
        """`CheckpointFolder` or `KerasHubFolder`: the weights."""
        kind = KerasHubFolder if self.is_of_keras_hub else CheckpointFolder
        return kind(self.path, self.config)

    @property
    def settings(self):
        """dict: what `save_pretrained` writes again; `None` of keras-hub."""
        if self.is_of_keras_hub:
            return None
        return settings_of(self.config, self.read(GENERATION_CONFIG) or None)


def open_preset(preset, weights=True):
    """Open the folder of a preset that has to be translated.

    Args:
        preset: path, `hf://` handle, or a `PresetFolder` that is open.
        weights: bool, whether a handle's weights are downloaded too.

    Returns:
        `PresetFolder`; `None` if the preset names a class of ours, or no
        folder.

    Raises:
        ValueError: If the preset is a folder without `config.json`, a file,
            or a `pathlib.Path` that does not exist.
    """
    if isinstance(preset, PresetFolder):
        return preset
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
    folder = PresetFolder(path)
    # A class of ours loads itself; its configuration names it.
    name = folder.read(CONFIG).get("registered_name", KERAS_HUB)
    return folder if str(name).startswith(KERAS_HUB) else None


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
