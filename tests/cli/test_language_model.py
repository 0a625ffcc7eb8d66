"""Where the commands' models are and how they are written."""

import pytest

from keras_moe.cli.language_model import ModelSize
from keras_moe.cli.language_model import make_model
from keras_moe.cli.language_model import model_file


@pytest.mark.once
def test_sizes_reach_the_backbone():
    size = ModelSize(num_layers=1, num_experts=3, capacity_factor=1.5)
    backbone = make_model(size).backbone
    assert backbone.num_experts == 3
    assert backbone.router.capacity.factor == 1.5
    assert backbone.vocabulary_size == 256


def test_a_run_folder_means_the_model_in_it(tmp_path):
    (tmp_path / "model.keras").touch()
    assert model_file(tmp_path) == tmp_path / "model.keras"
    assert model_file(tmp_path / "model.keras") == tmp_path / "model.keras"


@pytest.mark.parametrize("name", ["nothing", "other.txt", "."])
def test_what_is_no_model_is_refused(tmp_path, name):
    (tmp_path / "other.txt").touch()
    with pytest.raises(ValueError, match="Train one first"):
        model_file(tmp_path / name)
