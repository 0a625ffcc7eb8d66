"""Files that appear complete or not at all."""

import os

import pytest

from keras_moe.export.formats.staging import check_path
from keras_moe.export.formats.staging import staged_file

pytestmark = pytest.mark.once


def test_a_file_appears_with_its_neighbours_at_the_end(tmp_path):
    path = tmp_path / "new" / "model.xml"
    with staged_file(path) as (file, scratch):
        file.write_text("model")
        file.with_suffix(".bin").write_text("weights")
        (scratch / "job.json").write_text("{}")
        assert not path.exists()
    assert sorted(os.listdir(path.parent)) == ["model.bin", "model.xml"]
    assert path.read_text() == "model"


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_text("old")
    with pytest.raises(RuntimeError), staged_file(path) as (file, _):
        file.write_text("new")
        raise RuntimeError
    assert os.listdir(tmp_path) == ["model.onnx"]
    assert path.read_text() == "old"


def test_an_old_file_is_replaced(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_text("old")
    with staged_file(path) as (file, _):
        file.write_text("new")
    assert path.read_text() == "new"


def test_what_a_killed_export_left_is_removed(tmp_path):
    (tmp_path / ".keras_moe-killed").mkdir()
    with staged_file(tmp_path / "model.onnx") as (file, _):
        file.write_text("new")
    assert os.listdir(tmp_path) == ["model.onnx"]


def test_a_path_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "model.onnx"
    with pytest.raises(ValueError, match="Choose a folder that you may write"):
        with staged_file(path):
            pass


@pytest.mark.parametrize("name", ["model", "model.pt2", "folder.onnx"])
def test_a_name_that_the_format_does_not_have_is_refused(tmp_path, name):
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(ValueError, match="name ends in '.onnx'. Received"):
        check_path(tmp_path / name, ".onnx")
    assert check_path("a/model.onnx", ".onnx").name == "model.onnx"
