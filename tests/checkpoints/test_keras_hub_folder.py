"""A folder of keras-hub by tensor name; no tensor of a backend."""

import json

import h5py
import numpy as np
import pytest

from keras_moe.checkpoints.keras_hub_folder import KerasHubFolder
from keras_moe.checkpoints.keras_hub_folder import read_config

pytestmark = pytest.mark.once

CONFIG = {"registered_name": "keras_hub>Toy", "config": {"size": 3}}
A, B = np.arange(6.0, dtype="float32").reshape(2, 3), np.ones(4, "float16")


@pytest.fixture
def write_folder(tmp_path):
    """Returns a function that writes files of arrays, and an index."""

    def write(files, index=None, config=CONFIG):
        (tmp_path / "config.json").write_text(json.dumps(config))
        for name, arrays in files.items():
            with h5py.File(tmp_path / name, "w") as file:
                for path, array in arrays.items():
                    file[path] = array
        if index is not None:
            (tmp_path / "model.weights.json").write_text(json.dumps(index))
        return tmp_path

    return write


def refuses(folder, message):
    with pytest.raises(ValueError, match=message):
        KerasHubFolder(folder)


def test_names_say_the_layer(write_folder):
    paths = (
        "layers/toy_transformer_decoder/norm/vars/0",
        "layers/toy_transformer_decoder_12/norm/vars/0",
        "layers/reversible_embedding/vars/1",
    )
    folder = KerasHubFolder(
        write_folder({"model.weights.h5": dict.fromkeys(paths, A)})
    )
    assert set(folder.shapes) == {
        "layer_0/norm/0",
        "layer_12/norm/0",
        "layers/reversible_embedding/1",
    }
    assert folder.nbytes == 3 * A.nbytes


def test_shards_are_one_folder(write_folder):
    index = {"weight_map": {"/a/vars": "1.h5", "/b/vars": ["1.h5", "2.h5"]}}
    folder = KerasHubFolder(
        write_folder({"1.h5": {"a/vars/0": A}, "2.h5": {"b/vars/0": B}}, index)
    )
    assert folder.shapes == {"a/0": (2, 3), "b/0": (4,)}
    np.testing.assert_array_equal(folder.read("a/0"), A)
    assert folder.read("b/0").dtype == "float16"


def test_the_configuration_names_its_class(write_folder):
    folder = write_folder({})
    assert read_config(folder) == {"size": 3, "model_type": "keras_hub>Toy"}
    write_folder({}, config={"model_type": "mixtral"})
    assert read_config(folder) == {"model_type": "mixtral"}
    write_folder({}, config={"registered_name": "keras_hub>Toy"})
    with pytest.raises(ValueError, match="arguments of keras_hub>Toy"):
        read_config(folder)


def test_a_folder_without_weights_is_an_error(write_folder):
    refuses(write_folder({}), r"Expected model\.weights\.h5")


def test_an_index_without_map_is_an_error(write_folder):
    refuses(write_folder({}, {"weights": 1}), "Expected a `weight_map`")


@pytest.mark.parametrize(
    "name", ["lost.h5", "../out.h5", "sub/in.h5", "..", "C:\\out.h5", 3]
)
def test_shards_lie_in_the_folder_itself(write_folder, name):
    refuses(write_folder({}, {"weight_map": {"/a": name}}), "Expected the sha")


@pytest.mark.parametrize("length", [0, 7, 100, 1500])
def test_a_damaged_file_is_an_error(write_folder, length):
    folder = write_folder({"model.weights.h5": {"a/vars/0": A}})
    file = folder / "model.weights.h5"
    assert len(file.read_bytes()) > 1500
    file.write_bytes(file.read_bytes()[:length])
    refuses(folder, "damaged")


def test_links_to_other_files_are_refused_or_not_followed(write_folder):
    folder = write_folder({"other.h5": {"a": A}, "model.weights.h5": {}})
    layout = h5py.VirtualLayout((2, 3), "float32")
    layout[:] = h5py.VirtualSource(folder / "other.h5", "a", (2, 3))
    with h5py.File(folder / "model.weights.h5", "a") as file:
        file["linked/vars/0"] = h5py.ExternalLink("other.h5", "/a")
    assert KerasHubFolder(folder).shapes == {}
    with h5py.File(folder / "model.weights.h5", "a") as file:
        file.create_virtual_dataset("virtual/vars/0", layout)
    refuses(folder, "Do not trust")
