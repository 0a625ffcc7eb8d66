"""Which folder a preset means."""

import json

import pytest

from keras_moe.models import preset_folder
from keras_moe.models.preset_folder import open_preset

# Folders only.
pytestmark = pytest.mark.once

huggingface_hub = pytest.importorskip("huggingface_hub")


def write_config(folder, **config):
    (folder / "config.json").write_text(json.dumps(config))


def test_a_folder_of_hugging_face_is_found(tmp_path):
    write_config(tmp_path, model_type="mixtral")
    assert open_preset(tmp_path).path == tmp_path
    assert open_preset(str(tmp_path)).path == tmp_path


def test_a_folder_of_keras_hub_is_left_to_it(tmp_path):
    write_config(tmp_path, registered_name="keras_moe>MixtralBackbone")
    assert open_preset(tmp_path) is None
    assert open_preset("mixtral_8_7b_en") is None


def test_a_folder_without_configuration_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"Expected config\.json"):
        open_preset(tmp_path)


@pytest.mark.parametrize("weights", [True, False])
def test_a_handle_is_downloaded(weights, tmp_path, monkeypatch):
    write_config(tmp_path, model_type="mixtral")
    asked = {}

    def snapshot_download(handle, allow_patterns):
        asked.update(handle=handle, patterns=allow_patterns)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert open_preset("hf://owner/model", weights).path == tmp_path
    assert asked["handle"] == "owner/model"
    assert ("*.safetensors" in asked["patterns"]) == weights
    assert ("*.weights.h5" in asked["patterns"]) == weights


def test_a_folder_of_keras_hubs_own_class_is_translated(tmp_path):
    write_config(tmp_path, registered_name="keras_hub>MixtralBackbone")
    assert open_preset(tmp_path).path == tmp_path


def test_an_open_folder_reads_each_file_once(tmp_path, monkeypatch):
    write_config(tmp_path, model_type="mixtral", eos_token_id=7)
    read = []

    def count(path):
        read.append(path.name)
        return json.loads(path.read_text())

    monkeypatch.setattr(preset_folder, "read_json", count)
    folder = preset_folder.open_preset(tmp_path)
    assert preset_folder.open_preset(folder) is folder
    assert folder.config["model_type"] == "mixtral"
    assert folder.settings["config"] == {"eos_token_id": 7}
    assert read == ["config.json"]
