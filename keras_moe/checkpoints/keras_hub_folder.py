"""A folder that keras-hub's own `save_to_preset` wrote, by tensor name."""

import re
from pathlib import Path

import ml_dtypes
import numpy as np

from keras_moe.checkpoints.checkpoint_folder import CONFIG
from keras_moe.checkpoints.checkpoint_folder import is_file_name
from keras_moe.checkpoints.checkpoint_folder import read_json
from keras_moe.checkpoints.checkpoint_folder import read_weight_map
from keras_moe.checkpoints.checkpoint_folder import shorten

WEIGHTS = "model.weights.h5"
INDEX = "model.weights.json"
# Keras names a list's layers by class and counts from the second on.
LAYER = re.compile(r"^layers/\w+_transformer_decoder(?:_(\d+))?/")


class KerasHubFolder:
    """The tensors of a keras-hub backbone, in one HDF5 file or in shards.

    Opening reads names and shapes only. Layer l of a decoder is called
    `layer_l/`, and `vars/` is left out: `layer_0/mlp/expert_bank/0`.

    Args:
        path: folder with `config.json` and `model.weights.h5`, or shards with
            `model.weights.json`.
        config: optional dict, as from `read_config`, if it has been read.

    Attributes:
        path: `pathlib.Path` of the folder.
        config: dict, the backbone's arguments, and its registered name as
            `model_type`.
        shapes: dict of tensor name -> shape.
        dtypes: dict of tensor name -> NumPy dtype, as `read` returns it.

    Raises:
        ValueError: If a file is missing, damaged or outside of the folder.

    Example:

    >>> import json
    >>> import tempfile
    >>> import h5py
    >>> path = Path(tempfile.mkdtemp())
    >>> config = {"registered_name": "keras_hub>Toy", "config": {"size": 3}}
    >>> _ = (path / "config.json").write_text(json.dumps(config))
    >>> with h5py.File(path / "model.weights.h5", "w") as file:
    ...     file["layers/toy_transformer_decoder/norm/vars/0"] = [1.0, 2.0]
    >>> folder = KerasHubFolder(path)
    >>> folder.config, folder.shapes
    ({'size': 3, 'model_type': 'keras_hub>Toy'}, {'layer_0/norm/0': (2,)})
    >>> folder.read("layer_0/norm/0").tolist()
    [1.0, 2.0]
    """

    def __init__(self, path, config=None):
        self.path = Path(path)
        self.config = read_config(self.path) if config is None else config
        self._tensors = {}
        for file in self._files():
            self._tensors.update(_tensors(file))
        self.shapes = {
            name: tensor.shape for name, tensor in self._tensors.items()
        }
        self.dtypes = {
            name: _dtype(tensor) for name, tensor in self._tensors.items()
        }

    @property
    def nbytes(self):
        """Bytes of all tensors as they are stored."""
        return sum(tensor.nbytes for tensor in self._tensors.values())

    def read(self, name):
        """Return a tensor.

        Args:
            name: of the tensor.

        Returns:
            NumPy array with the dtype in the file.

        Raises:
            KeyError: If there is no such tensor.
            ValueError: If the file is damaged there.
        """
        tensor = self._tensors[name]
        try:
            array = np.asarray(tensor[()])
        except OSError as error:
            raise _damaged(tensor.file.filename, error) from error
        return array.view(self.dtypes[name])

    def _files(self):
        if (self.path / WEIGHTS).is_file():
            return [self.path / WEIGHTS]
        if not (self.path / INDEX).is_file():
            found = sorted(each.name for each in self.path.iterdir())
            raise ValueError(
                f"Expected {WEIGHTS} or {INDEX} in {self.path}. Received: "
                f"{shorten(found)}."
            )
        files = {}  # In their order, without repetition.
        for shards in read_weight_map(self.path / INDEX).values():
            files.update(dict.fromkeys(_as_list(shards)))
        for name in files:
            inside = isinstance(name, str) and is_file_name(name)
            if not inside or not (self.path / name).is_file():
                raise ValueError(
                    f"Expected the shards that {self.path / INDEX} names in "
                    f"the folder itself. Received: {name!r}, which is not "
                    "there. Download it again."
                )
        return [self.path / name for name in files]


def read_config(path):
    """Read a `config.json` of keras-hub or of Hugging Face.

    Args:
        path: folder.

    Returns:
        dict with `model_type`; for keras-hub's, that is the class's
        registered name, beside the class's arguments.

    Raises:
        ValueError: If it is missing or damaged.
    """
    return as_config(read_json(Path(path) / CONFIG), path)


def as_config(contents, path):
    """Turn the contents of a `config.json` into one kind of configuration.

    Args:
        contents: dict, of keras-hub or of Hugging Face.
        path: folder, for errors.

    Returns:
        dict, as from `read_config`.

    Raises:
        ValueError: If it is damaged.
    """
    if "registered_name" not in contents:
        return contents
    arguments = contents.get("config")
    if not isinstance(arguments, dict):
        raise ValueError(
            f"Expected the arguments of {contents['registered_name']} as "
            f"`config` in {Path(path) / CONFIG}. Received: {arguments!r}."
        )
    return {**arguments, "model_type": contents["registered_name"]}


def _dtype(tensor):
    # HDF5 has no such type; Keras notes it beside the bytes.
    if tensor.attrs.get("dtype") == "bfloat16":
        return np.dtype(ml_dtypes.bfloat16)
    return tensor.dtype


def _tensors(path):
    import h5py

    tensors = {}

    def note(name, item):
        if not isinstance(item, h5py.Dataset):
            return
        if item.external or item.is_virtual:
            raise ValueError(
                f"Expected the numbers of {name} in {path}. Received: a link "
                "to other files. Do not trust this folder."
            )
        name = LAYER.sub(lambda layer: f"layer_{layer[1] or 0}/", name)
        tensors[name.replace("/vars/", "/")] = item

    try:
        # Stays open, for `read`, as long as its tensors are known.
        h5py.File(path, "r").visititems(note)
    except OSError as error:
        raise _damaged(path, error) from error
    return tensors


def _damaged(path, error):
    return ValueError(
        f"Expected an HDF5 file. Received: {path}, which is damaged "
        f"({error}). Download it again."
    )


def _as_list(names):
    return names if isinstance(names, list) else [names]
