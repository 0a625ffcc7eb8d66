"""A folder in the layout of Hugging Face, by tensor name."""

import json
import os
import re
from pathlib import Path
from pathlib import PureWindowsPath

import numpy as np

from keras_moe.checkpoints.block_scales import check_scales
from keras_moe.checkpoints.block_scales import scale_blocks
from keras_moe.checkpoints.exchange import restore
from keras_moe.checkpoints.safetensors_file import SafetensorsFile

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLES = (".bin", ".pt", ".pth", ".ckpt")
SCALES = "_scale_inv"


class CheckpointFolder:
    """The tensors of a published model, in one file or in shards.

    Opening reads headers only, and finds what is missing or does not fit.
    8-bit weights with block scales come as float32. Where there are both a
    single file and an index, the single file counts, as in transformers.

    Args:
        path: folder with `config.json` and safetensors files.
        config: optional dict, the contents of `config.json`, if it has been
            read.

    Attributes:
        path: `pathlib.Path` of the folder.
        config: dict, the contents of `config.json`.
        shapes: dict of tensor name -> shape; block scales belong to their
            weights and have no entry.
        dtypes: dict of tensor name -> NumPy dtype, as `read` returns it.

    Raises:
        ValueError: If a file is missing, damaged, a pickle or outside of the
            folder, or block scales do not fit their weights.

    Example:

    >>> import tempfile
    >>> import numpy as np
    >>> from safetensors.numpy import save_file
    >>> path = Path(tempfile.mkdtemp())
    >>> _ = (path / "config.json").write_text('{"model_type": "mixtral"}')
    >>> norm = np.ones(3, "float32")
    >>> save_file({"model.norm.weight": norm}, path / "model.safetensors")
    >>> folder = CheckpointFolder(path)
    >>> folder.config, folder.shapes
    ({'model_type': 'mixtral'}, {'model.norm.weight': (3,)})
    >>> folder.read("model.norm.weight").tolist()
    [1.0, 1.0, 1.0]
    """

    def __init__(self, path, config=None):
        self.path = Path(path)
        if not self.path.is_dir():
            found = "a file" if self.path.exists() else "no such folder"
            raise ValueError(
                f"Expected a folder with {CONFIG} and safetensors files. "
                f"Received: {self.path}, {found}."
            )
        restore(self.path)
        self.config = config or read_json(self.path / CONFIG)
        self._files = self._open()
        self._scaled = {
            name for name in self._files if name + SCALES in self._files
        }
        self._check_scales()
        of_others = {name + SCALES for name in self._scaled}
        self.shapes = {
            name: file.entries[name].shape
            for name, file in self._files.items()
            if name not in of_others
        }
        self.dtypes = {
            name: np.dtype("float32")
            if name in self._scaled
            else self._files[name].entries[name].dtype
            for name in self.shapes
        }

    @property
    def nbytes(self):
        """Bytes of all tensors as they are stored."""
        return sum(
            file.entries[name].nbytes for name, file in self._files.items()
        )

    def read(self, name):
        """Return a tensor.

        Args:
            name: of the tensor.

        Returns:
            NumPy array: a view of the file with the dtype there, or float32
            where block scales belong to it.

        Raises:
            KeyError: If there is no such tensor.
        """
        array = self._files[name].read(name)
        if name not in self._scaled:
            return array
        scales = self._files[name + SCALES].read(name + SCALES)
        return scale_blocks(array, scales, self._block_size())

    def _check_scales(self):
        for name in self._scaled:
            check_scales(
                self._files[name].entries[name].shape,
                self._files[name + SCALES].entries[name + SCALES].shape,
                self._block_size(),
                name,
            )

    def _block_size(self):
        quantization = self.config.get("quantization_config") or {}
        size = (128, 128)
        if isinstance(quantization, dict):
            size = quantization.get("weight_block_size") or size
        if (
            not isinstance(size, list | tuple)
            or len(size) != 2
            or not all(type(each) is int and each > 0 for each in size)
        ):
            raise ValueError(
                "Expected a `weight_block_size` of two positive ints in "
                f"{self.path / CONFIG}. Received: {size}."
            )
        return tuple(size)

    def _open(self):
        if (self.path / WEIGHTS).is_file():
            file = SafetensorsFile(self.path / WEIGHTS)
            return dict.fromkeys(file.entries, file)
        if (self.path / INDEX).is_file():
            return self._open_shards()
        raise ValueError(self._nothing_found())

    def _open_shards(self):
        shard_of = read_weight_map(self.path / INDEX, str)
        for shard in sorted(set(shard_of.values())):
            self._check_inside(shard)
        shards = {
            shard: SafetensorsFile(self.path / shard)
            for shard in sorted(set(shard_of.values()))
        }
        lost = [
            name
            for name, shard in shard_of.items()
            if name not in shards[shard].entries
        ]
        if lost:
            raise ValueError(
                f"Expected every shard of {self.path} to hold what the index "
                f"says. Received: no {shorten(lost)}. Download it again."
            )
        return {name: shards[shard] for name, shard in shard_of.items()}

    def _check_inside(self, shard):
        if not is_file_name(shard):
            raise ValueError(
                "Expected names of files in the folder itself. Received: "
                f"{shard!r} in {self.path / INDEX}. Do not trust this folder."
            )
        if not os.path.isfile(self.path / shard):
            raise ValueError(
                f"Expected the shard {shard} in {self.path}. Received: no "
                "such file. Download it again."
            )

    def _nothing_found(self):
        pickles = [
            each.name
            for each in sorted(self.path.iterdir())
            if each.suffix in PICKLES
        ]
        if not pickles:
            found = [each.name for each in sorted(self.path.iterdir())]
            return (
                f"Expected {WEIGHTS} or {INDEX} in {self.path}. Received: "
                f"{shorten(found)}."
            )
        return (
            f"Expected safetensors in {self.path}. Received: the pickle "
            f"{pickles[0]}, which can run any code when it is read. If you "
            "trust it, put this folder's path for FOLDER in: python -c "
            f'"from transformers import {self._their_class()} as M; '
            "M.from_pretrained('FOLDER').save_pretrained('NEW_FOLDER')\""
        )

    def _their_class(self):
        """Which class of transformers keeps the head."""
        names = self.config.get("architectures")
        name = names[0] if isinstance(names, list) and names else None
        # A reader may paste it into a shell.
        safe = isinstance(name, str) and re.fullmatch("[A-Za-z0-9_]+", name)
        return name if safe else "AutoModelForCausalLM"


def read_json(path):
    """Read a JSON object.

    Args:
        path: of the file.

    Returns:
        dict.

    Raises:
        ValueError: If it is missing, damaged or no object.
    """
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(
            f"Expected a JSON file at {path}. Received: {error}"
        ) from error
    if not isinstance(value, dict):
        raise ValueError(
            f"Expected a JSON object in {path}. Received: "
            f"{type(value).__name__}"
        )
    return value


def read_weight_map(path, kind=object):
    """Read which shards hold which tensors.

    Args:
        path: of the index file.
        kind: type of what stands for a shard.

    Returns:
        dict of tensor name -> shard.

    Raises:
        ValueError: If it is missing or damaged.
    """
    index = read_json(path)
    weight_map = index.get("weight_map")
    if not isinstance(weight_map, dict) or not all(
        isinstance(shard, kind) for shard in weight_map.values()
    ):
        raise ValueError(
            "Expected a `weight_map` of tensor names to file names in "
            f"{path}. Received: the keys {shorten(sorted(index))}. Download "
            "it again."
        )
    return weight_map


def is_file_name(name):
    """Tell whether a name stays in its folder.

    Args:
        name: str.

    Returns:
        bool; `False` for a path, on any system.

    Example:

    >>> is_file_name("a.safetensors"), is_file_name("../a.safetensors")
    (True, False)
    """
    # Windows knows both separators, and drives.
    return PureWindowsPath(name).name == name and name not in ("", "..")


def shorten(names, most=8):
    """Join names; of many only the first.

    Args:
        names: list of str.
        most: int, how many to show.

    Returns:
        str.

    Example:

    >>> shorten(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    names = list(names)
    shown = ", ".join(map(str, names[:most]))
    more = len(names) - most
    return f"{shown} and {more} more" if more > 0 else shown
