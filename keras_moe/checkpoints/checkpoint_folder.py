"""A folder in the layout of Hugging Face, by tensor name."""

import json
from pathlib import Path
from pathlib import PurePosixPath

from keras_moe.checkpoints.block_scales import scale_blocks
from keras_moe.checkpoints.safetensors_file import SafetensorsFile

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLES = (".bin", ".pt", ".pth", ".ckpt")
SCALES = "_scale_inv"


class CheckpointFolder:
    """The tensors of a published model, in one file or in shards.

    Opening reads headers only, and finds what is missing. 8-bit weights with
    block scales come as float32.

    Args:
        path: folder with `config.json` and safetensors files.

    Attributes:
        config: dict, the contents of `config.json`.
        shapes: dict of tensor name -> shape.

    Raises:
        ValueError: If a file is missing, damaged, a pickle or outside of the
            folder.
    """

    def __init__(self, path):
        self.path = Path(path)
        self.config = read_json(self.path / CONFIG)
        self._files = self._open()
        self.shapes = {
            name: file.entries[name].shape
            for name, file in self._files.items()
            if not name.endswith(SCALES)
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
            NumPy array, a view of the file or float32.
        """
        array = self._files[name].read(name)
        scales = name + SCALES
        if scales not in self._files:
            return array
        return scale_blocks(
            array, self._files[scales].read(scales), self._block_size()
        )

    def _block_size(self):
        quantization = self.config.get("quantization_config") or {}
        return quantization.get("weight_block_size") or (128, 128)

    def _open(self):
        if (self.path / INDEX).is_file():
            return self._open_shards()
        if not (self.path / WEIGHTS).is_file():
            raise ValueError(self._nothing_found())
        file = SafetensorsFile(self.path / WEIGHTS)
        return dict.fromkeys(file.entries, file)

    def _open_shards(self):
        index = read_json(self.path / INDEX)
        shard_of = index.get("weight_map")
        if not isinstance(shard_of, dict):
            raise ValueError(
                f"Expected a `weight_map` in {self.path / INDEX}. Received: "
                f"{sorted(index)}. Download it again."
            )
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
        parts = PurePosixPath(str(shard)).parts
        if len(parts) != 1 or ".." in parts or "\\" in str(shard):
            raise ValueError(
                "Expected names of files in the folder itself. Received: "
                f"{shard!r} in {self.path / INDEX}. Do not trust this folder."
            )
        if not (self.path / shard).is_file():
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
            'trust it: python -c "from transformers import AutoModel as M; '
            "M.from_pretrained('FOLDER').save_pretrained('NEW_FOLDER')\""
        )


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
        value = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise ValueError(
            f"Expected a JSON file at {path}. Received: {error}"
        ) from error
    if not isinstance(value, dict):
        raise ValueError(
            f"Expected a JSON object in {path}. Received: "
            f"{type(value).__name__}"
        )
    return value


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
