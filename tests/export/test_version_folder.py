"""Folders of versions: where they go, how they appear, which one is read."""

import os
import pathlib
import threading

import pytest

from keras_moe.export import version_folder
from keras_moe.export.exchange_folders import exchange_folders
from keras_moe.export.version_folder import clean_up
from keras_moe.export.version_folder import find_version_folder
from keras_moe.export.version_folder import plan_version_folder
from keras_moe.export.version_folder import staged_folder

# Folders only.
pytestmark = pytest.mark.once


def write_version(target, content, overwrite=False):
    """Write a version with one file."""
    with staged_folder(target, overwrite) as staging:
        (staging / "saved_model").mkdir()
        (staging / "saved_model" / "saved_model.pb").write_text(content)
        (staging / "scratch").write_text("not for the server")


def test_plans_a_numbered_folder(tmp_path):
    planned = plan_version_folder(str(tmp_path / "model"), 12, overwrite=False)
    assert planned == tmp_path / "model" / "12"
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("version", [-1, 1.0, "1", None, True])
def test_refuses_what_is_not_a_version(tmp_path, version):
    with pytest.raises(ValueError, match="version to be an integer"):
        plan_version_folder(tmp_path, version, overwrite=False)


def test_refuses_a_path_that_is_a_file(tmp_path):
    path = tmp_path / "model"
    path.write_text("")
    with pytest.raises(ValueError, match="which is a file.*another path"):
        plan_version_folder(path, 1, overwrite=True)


def test_refuses_an_existing_version_and_names_a_free_one(tmp_path):
    for version in ("1", "4", "not a version"):
        (tmp_path / version).mkdir()
    message = r"version 1 not to exist.*Pass version=5 .*overwrite=True"
    with pytest.raises(ValueError, match=message):
        plan_version_folder(tmp_path, 1, overwrite=False)
    assert plan_version_folder(tmp_path, 1, overwrite=True).name == "1"


def test_a_version_appears_whole_and_alone(tmp_path):
    target = tmp_path / "deep" / "model" / "1"
    with staged_folder(target, overwrite=False) as staging:
        (staging / "saved_model").mkdir()
        assert not target.exists()
        # TensorFlow Serving watches for numbers only.
        assert not staging.name.isdigit()
        assert staging.parent == target.parent
    assert os.listdir(target.parent) == ["1"]
    assert os.listdir(target) == []


def test_a_version_can_be_read_by_another_user(tmp_path):
    umask = os.umask(0o022)
    try:
        write_version(tmp_path / "1", "new")
    finally:
        os.umask(umask)
    assert (tmp_path / "1").stat().st_mode & 0o777 == 0o755


def test_after_an_error_nothing_is_left(tmp_path):
    target = tmp_path / "deep" / "model" / "1"
    with (
        pytest.raises(KeyError),
        staged_folder(target, overwrite=False) as staging,
    ):
        (staging / "saved_model").mkdir()
        raise KeyError
    assert os.listdir(tmp_path) == []


def test_an_error_leaves_folders_that_were_there(tmp_path):
    write_version(tmp_path / "1", "old")
    with (
        pytest.raises(KeyError),
        staged_folder(tmp_path / "1", overwrite=True),
    ):
        raise KeyError
    assert os.listdir(tmp_path) == ["1"]
    assert (tmp_path / "1" / "saved_model.pb").read_text() == "old"


@pytest.mark.parametrize("exchanges", [True, False])
def test_overwriting_replaces_the_whole_version(
    tmp_path, monkeypatch, exchanges
):
    if not exchanges:
        monkeypatch.setattr(
            version_folder, "exchange_folders", lambda first, second: False
        )
    write_version(tmp_path / "1", "old")
    (tmp_path / "1" / "stale").write_text("")
    write_version(tmp_path / "1", "new", overwrite=True)
    assert os.listdir(tmp_path) == ["1"]
    assert os.listdir(tmp_path / "1") == ["saved_model.pb"]
    assert (tmp_path / "1" / "saved_model.pb").read_text() == "new"


def test_a_version_that_is_replaced_is_never_missing(tmp_path):
    write_version(tmp_path / "1", "old")
    (tmp_path / "other").mkdir()
    if not exchange_folders(tmp_path / "1", tmp_path / "other"):
        pytest.skip("needs a file system that swaps folders")
    exchange_folders(tmp_path / "1", tmp_path / "other")
    file = tmp_path / "1" / "saved_model.pb"
    missing = []
    done = threading.Event()

    def watch():
        while not done.is_set():
            if not file.exists():
                missing.append(True)

    watcher = threading.Thread(target=watch)
    watcher.start()
    for _ in range(50):
        write_version(tmp_path / "1", "new", overwrite=True)
    done.set()
    watcher.join()
    assert not missing
    assert file.read_text() == "new"


def test_a_version_written_meanwhile_is_kept(tmp_path):
    target = tmp_path / "1"
    with (
        pytest.raises(ValueError, match="version 1 not to exist"),
        staged_folder(target, overwrite=False) as staging,
    ):
        (staging / "saved_model").mkdir()
        write_version(target, "theirs")
    assert (target / "saved_model.pb").read_text() == "theirs"


def test_a_failed_replacement_restores_the_old_version(tmp_path):
    write_version(tmp_path / "1", "old")
    with (
        pytest.raises(FileNotFoundError),
        staged_folder(tmp_path / "1", overwrite=True),
    ):
        pass  # Nobody wrote the subfolder `saved_model`.
    assert (tmp_path / "1" / "saved_model.pb").read_text() == "old"


def test_what_a_killed_export_left_is_removed(tmp_path):
    write_version(tmp_path / "1", "old")
    left = tmp_path / ".keras_moe-killed"
    (left / "saved_model").mkdir(parents=True)
    with staged_folder(tmp_path / "2", overwrite=False) as staging:
        (staging / "saved_model").mkdir()
        clean_up(tmp_path)
        assert not left.exists()
    assert sorted(os.listdir(tmp_path)) == ["1", "2"]


def test_a_version_set_aside_by_a_killed_export_comes_back(tmp_path):
    # The old version is aside, and the new one not yet in its place.
    left = tmp_path / ".keras_moe-killed"
    for folder in ("saved_model", "replaced/1"):
        (left / folder).mkdir(parents=True)
        (left / folder / "saved_model.pb").write_text(folder)
    clean_up(tmp_path)
    assert os.listdir(tmp_path) == ["1"]
    assert (tmp_path / "1" / "saved_model.pb").read_text() == "replaced/1"


def test_a_version_that_was_replaced_does_not_come_back(tmp_path):
    write_version(tmp_path / "1", "new")
    left = tmp_path / ".keras_moe-killed"
    (left / "replaced" / "1").mkdir(parents=True)
    clean_up(tmp_path)
    assert os.listdir(tmp_path) == ["1"]
    assert (tmp_path / "1" / "saved_model.pb").read_text() == "new"


def test_refuses_a_path_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(ValueError, match="can be written.*Not a directory"),
        staged_folder(tmp_path / "file" / "model" / "1", overwrite=False),
    ):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_refuses_a_folder_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    with (
        pytest.raises(ValueError, match="can be written.*Permission denied"),
        staged_folder(tmp_path / "model" / "1", overwrite=False),
    ):
        pass


def test_refuses_a_folder_of_the_system():
    if not pathlib.Path("/proc/self").exists():
        pytest.skip("needs a file system that not even root can write to")
    with (
        pytest.raises(ValueError, match="'/proc/model'.*may write to"),
        staged_folder(pathlib.Path("/proc/model/1"), overwrite=False),
    ):
        pass


def test_finds_the_newest_version_by_number(tmp_path):
    for version in ("2", "9", "10"):
        write_version(tmp_path / version, version)
    (tmp_path / "11").mkdir()  # Not a SavedModel.
    (tmp_path / "variables").mkdir()
    assert find_version_folder(str(tmp_path)) == tmp_path / "10"


def test_finds_a_version_folder_itself(tmp_path):
    write_version(tmp_path / "3", "three")
    assert find_version_folder(tmp_path / "3") == tmp_path / "3"


@pytest.mark.parametrize("name", ["missing", "empty", "file"])
def test_refuses_a_path_without_a_saved_model(tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=f"{name}.*no saved_model.pb"):
        find_version_folder(tmp_path / name)
