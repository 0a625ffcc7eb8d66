"""Versions that come, break and go while a server runs."""

import shutil
import time
import weakref

import pytest

from keras_moe.serving.errors import ServingError
from keras_moe.serving.metrics import Metrics
from keras_moe.serving.model_versions import ModelVersions

pytestmark = pytest.mark.once


class Model:
    def __init__(self, folder):
        self.version = int(folder.name)
        if (folder / "saved_model.pb").read_text() == "broken":
            raise ValueError("This one is\nbroken.")


def write(base, version, content="fine"):
    folder = base / str(version)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "saved_model.pb").write_text(content)


@pytest.fixture
def open_versions(tmp_path, no_collections):
    made = []

    def open_versions():
        # Never by itself: the test says when to look.
        versions = ModelVersions(
            tmp_path, "toy", Metrics(), poll_seconds=1e6, load=Model
        )
        made.append(versions)
        return versions

    yield open_versions
    for each in made:
        each.close()


def states(versions):
    return [(x.version, x.state, x.error) for x in versions.status()]


def test_the_highest_version_serves(tmp_path, open_versions):
    write(tmp_path, 2)
    write(tmp_path, 10)
    for other in ("abc", ".keras_moe-x", "007", "11x"):
        write(tmp_path, other)
    (tmp_path / "12").mkdir()
    versions = open_versions()
    assert states(versions) == [(10, "AVAILABLE", "")]
    with versions.lease("toy", 10) as model:
        assert model.version == 10


def test_without_a_version_there_is_no_server(tmp_path, open_versions):
    with pytest.raises(ValueError, match="Received: .* with no version"):
        open_versions()
    write(tmp_path, 3, "broken")
    with pytest.raises(ValueError, match="version 3: This one is broken"):
        open_versions()


def test_a_broken_version_is_refused_until_it_changes(tmp_path, open_versions):
    write(tmp_path, 1)
    versions = open_versions()
    write(tmp_path, 3, "broken")
    write(tmp_path, 2)
    versions.poll()
    assert states(versions) == [
        (3, "END", "This one is broken."),
        (2, "AVAILABLE", ""),
    ]
    versions.poll()
    write(tmp_path, 3, "repaired")
    versions.poll()
    assert states(versions) == [(3, "AVAILABLE", "")]


def test_a_broken_version_falls_back_at_the_start(tmp_path, open_versions):
    write(tmp_path, 2, "broken")
    write(tmp_path, 1)
    versions = open_versions()
    assert states(versions)[1] == (1, "AVAILABLE", "")


def test_a_removed_version_goes_on(tmp_path, open_versions):
    write(tmp_path, 1)
    write(tmp_path, 2)
    versions = open_versions()
    shutil.rmtree(tmp_path / "2")
    versions.poll()
    assert states(versions) == [(2, "AVAILABLE", "")]
    shutil.rmtree(tmp_path)
    versions.poll()
    with versions.lease() as model:
        assert model.version == 2
    write(tmp_path, 5)
    versions.poll()
    assert states(versions) == [(5, "AVAILABLE", "")]


def test_a_replaced_version_is_loaded_again(tmp_path, open_versions):
    write(tmp_path, 1)
    versions = open_versions()
    with versions.lease() as before:
        pass
    write(tmp_path, 1, "replaced")
    versions.poll()
    with versions.lease() as after:
        assert after is not before
    write(tmp_path, 1, "broken")
    versions.poll()
    assert states(versions) == [(1, "AVAILABLE", "")]


def test_the_old_version_stays_until_its_last_request(tmp_path, open_versions):
    write(tmp_path, 1)
    versions = open_versions()
    with versions.lease() as model:
        write(tmp_path, 2)
        versions.poll()
        assert states(versions) == [
            (2, "AVAILABLE", ""),
            (1, "UNLOADING", ""),
        ]
        with versions.lease(version=1) as same:
            assert same is model
        gone = weakref.ref(model)
        del model, same
        versions.poll()
        assert gone() is not None
    versions.poll()
    assert gone() is None
    assert states(versions) == [(2, "AVAILABLE", "")]
    with pytest.raises(ServingError, match="Servable not found"):
        with versions.lease(version=1):
            pass


@pytest.mark.parametrize(
    ("name", "version"), [("other", None), ("toy", 8), ("", None)]
)
def test_what_is_not_there_is_not_found(tmp_path, open_versions, name, version):
    write(tmp_path, 1)
    versions = open_versions()
    with pytest.raises(ServingError, match="Servable not found") as error:
        with versions.lease(name, version):
            pass
    assert error.value.http_code == 404
    with pytest.raises(ServingError, match="Servable not found"):
        versions.status(name, version)


def wait_for(condition):
    limit = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.02)


def largest(client, texts):
    return max(client.predict("serving_default", texts([3]))[0][0])


def test_a_server_switches_while_it_answers(
    start, versions_folder, other_version, texts
):
    client = start(poll_seconds=0.05)
    assert largest(client, texts) == 1
    (versions_folder / ".staging").mkdir()
    shutil.copytree(other_version, versions_folder / ".staging" / "2")
    (versions_folder / ".staging" / "2").rename(versions_folder / "2")
    seen = set()
    wait_for(lambda: seen.add(largest(client, texts)) or 2 in seen)
    assert seen <= {1, 2}
    assert client.metric("keras_moe_model_version") == 2


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("saved_model.pb", "truncated"),
        ("variables/variables.data-00000-of-00001", "truncated"),
        ("variables/variables.data-00000-of-00001", "flipped"),
    ],
)
def test_a_damaged_saved_model_is_refused(
    start, versions_folder, other_version, texts, file, damage
):
    client = start(poll_seconds=0.05)
    target = versions_folder / ".staging"
    shutil.copytree(other_version, target)
    content = bytearray((target / file).read_bytes())
    if damage == "truncated":
        del content[len(content) // 2 :]
    else:
        content[len(content) // 3] ^= 0xFF
    (target / file).write_bytes(content)
    target.rename(versions_folder / "2")
    status = []

    def is_refused():
        answer = client.get("/v1/models/toy")[1]
        status[:] = answer["model_version_status"]
        return status[0]["state"] == "END"

    wait_for(is_refused)
    assert [(x["version"], x["state"]) for x in status] == [
        ("2", "END"),
        ("1", "AVAILABLE"),
    ]
    assert status[0]["status"]["error_message"]
    assert largest(client, texts) == 1
