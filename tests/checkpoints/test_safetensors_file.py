"""The reader against the writer of the `safetensors` library."""

import json
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.numpy import load
from safetensors.numpy import save
from safetensors.numpy import save_file

from keras_moe.checkpoints.safetensors_file import DTYPES
from keras_moe.checkpoints.safetensors_file import SafetensorsFile

# Files and NumPy, no tensor of a backend.
pytestmark = pytest.mark.once

# What is refused is refused within a second of work, whatever its header says.
SECONDS = 1.0


def raw(header, data=b""):
    """Lay out a file by hand; `header` is bytes or what JSON can say."""
    if not isinstance(header, bytes):
        header = json.dumps(header).encode()
    return len(header).to_bytes(8, "little") + header + data


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    shape = list(shape) if isinstance(shape, tuple) else shape
    offsets = list(offsets) if isinstance(offsets, tuple) else offsets
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def assert_refused(path, content, match=None):
    path.write_bytes(content)
    start = time.process_time()
    with pytest.raises(ValueError, match=match) as error:
        SafetensorsFile(path)
    assert time.process_time() - start < SECONDS
    assert str(path) in str(error.value)
    assert len(str(error.value)) < 500 + len(str(path))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


# ---- what is whole ----------------------------------------------------------


@pytest.mark.parametrize("name", DTYPES)
def test_every_dtype_is_read_bit_by_bit(name, path):
    dtype = np.dtype(DTYPES[name])
    # Every byte once, and a count that no alignment divides.
    every = np.arange(2 if name == "BOOL" else 256, dtype="uint8")
    expected = np.tile(every, 3 * dtype.itemsize).view(dtype).reshape(3, -1)
    save_file({"odd": np.ones(3, "uint8"), "x": expected}, path)
    file = SafetensorsFile(path)
    assert file.entries["x"].dtype == dtype
    assert file.entries["x"].shape == expected.shape
    assert file.entries["x"].nbytes == expected.nbytes
    actual = file.read("x")
    assert actual.dtype == dtype and actual.shape == expected.shape
    np.testing.assert_array_equal(
        np.array(actual).view("uint8"), expected.view("uint8")
    )


def test_no_dtype_of_whole_bytes_is_unknown(path):
    with pytest.raises(SafetensorError) as error:
        load(raw({"x": entry("nothing")}))
    # The library's list; F4 and F6 are parts of bytes.
    words = set(str(error.value).replace("`", " ").replace(",", " ").split())
    known = {word for word in words if word[0] in "BCFIU" and word.isupper()}
    assert "F8_E4M3" in known
    assert {name for name in known if name[:2] not in ("F4", "F6")} <= set(
        DTYPES
    )


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (0, 2**31), (1, 1)])
def test_scalars_and_empty_tensors_are_read(shape, path):
    x = np.zeros(shape, "float16")
    save_file({"first": np.ones(5, "int8"), "x": x}, path)
    actual = SafetensorsFile(path).read("x")
    assert actual.shape == shape and actual.dtype == x.dtype
    np.testing.assert_array_equal(actual, x)


def test_metadata_is_no_tensor(path):
    save_file({"x": np.ones(2)}, path, metadata={"format": "pt"})
    assert list(SafetensorsFile(path).entries) == ["x"]


def test_a_file_may_hold_nothing(path):
    save_file({}, path)
    assert SafetensorsFile(path).entries == {}


def test_names_are_any_text(path):
    save_file({"ä.层.🙂": np.ones(1), "": np.zeros(1)}, path)
    assert set(SafetensorsFile(path).entries) == {"ä.层.🙂", ""}


def test_a_header_of_any_length_is_read(path):
    for spaces in range(8):
        header = json.dumps({"x": entry()}).encode() + b" " * spaces
        path.write_bytes(raw(header, np.array([1, 2], "float32").tobytes()))
        np.testing.assert_array_equal(SafetensorsFile(path).read("x"), [1, 2])


def test_only_the_header_is_read_and_then_what_is_asked_for(path):
    # 64 GiB that take no place on the disk: were it read, it would show.
    size = 2**36
    header = raw(
        {
            "x": entry("U8", (size - 1,), (0, size - 1)),
            "y": entry("U8", (1,), (size - 1, size)),
        }
    )
    with open(path, "wb") as stream:
        stream.write(header)
        stream.seek(len(header) + size - 1)
        stream.write(b"\x07")
    start = time.process_time()
    assert SafetensorsFile(path).read("y").tolist() == [7]
    assert time.process_time() - start < SECONDS


def test_what_is_read_cannot_be_written_to(path):
    save_file({"x": np.ones(2)}, path)
    with pytest.raises(ValueError, match="read-only"):
        SafetensorsFile(path).read("x")[0] = 2


def test_an_unknown_name_is_a_key_error(path):
    save_file({"x": np.ones(2)}, path)
    with pytest.raises(KeyError, match="y"):
        SafetensorsFile(path).read("y")


# ---- what is not ------------------------------------------------------------


def test_a_file_truncated_anywhere_is_refused(path):
    whole = save({"a": np.ones((2, 3)), "b": np.ones(5, "uint8")})
    for length in range(len(whole)):
        assert_refused(path, whole[:length], match="whole safetensors file")


def test_a_file_with_more_than_its_header_says_is_refused(path):
    assert_refused(path, save({"a": np.ones(2)}) + b"\0")


@pytest.mark.parametrize("length", [2**63, 2**64 - 1, 100_000_001, 10**6, 1])
def test_a_header_of_absurd_length_is_refused(length, path):
    whole = save({"a": np.ones(2)})
    assert_refused(path, length.to_bytes(8, "little") + whole[8:])


def test_a_header_beyond_the_formats_limit_is_refused(path):
    length = 100_000_001
    with open(path, "wb") as stream:
        stream.write(length.to_bytes(8, "little"))
        stream.truncate(8 + length)
    with pytest.raises(ValueError, match=f"a header of {length} bytes"):
        SafetensorsFile(path)


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"{",
        b"not JSON",
        b'{"x": }',
        b"\xff\xfe\xfd",
        b'{"x": \xff}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"9" * 10_000,
    ],
    ids=lambda header: repr(header[:8]),
)
def test_a_header_that_is_not_json_is_refused(header, path):
    assert_refused(path, raw(header))


@pytest.mark.parametrize(
    "header",
    [
        [],
        None,
        3,
        "x",
        {"x": None},
        {"x": []},
        {"x": "F32"},
        {"x": 1},
        {"x": {}},
        {"x": {"dtype": "F32", "shape": [2]}},
        {"x": {"dtype": "F32", "data_offsets": [0, 8]}},
        {"x": {"shape": [2], "data_offsets": [0, 8]}},
        {"__metadata__": {}, "x": None},
    ],
    ids=repr,
)
def test_json_of_another_form_is_refused(header, path):
    assert_refused(path, raw(header, bytes(8)))


@pytest.mark.parametrize("dtype", ["F33", "f32", "F4", "", None, 3, [], {}])
def test_another_dtype_is_refused(dtype, path):
    assert_refused(path, raw({"x": entry(dtype)}, bytes(8)))


@pytest.mark.parametrize(
    "shape",
    [
        None,
        2,
        "2",
        "",
        {},
        {"2": 2},
        [2.0],
        ["2"],
        [None],
        [[2]],
        [True, 2],
        [-2],
        [-1, -2],
        [3],
        [1],
        [],
        [0],
        [float("nan")],
        [float("inf")],
        [2**63],
        [2**62, 4],
        [2**32, 2**32],
        [10**400],
    ],
    ids=repr,
)
def test_another_shape_is_refused(shape, path):
    assert_refused(path, raw({"x": entry(shape=shape)}, bytes(8)))


@pytest.mark.parametrize(
    "shape",
    [
        (2**63, 0),
        (0, 10**30),
        (2**40, 2**40, 0),
        (2**61, 0, 4),
        (0,) * 65,
        (2**62,) * 10_000 + (0,),
    ],
    ids=lambda shape: f"{len(shape)} axes from {shape[0]}",
)
def test_an_empty_shape_that_no_array_has_is_refused(shape, path):
    # Zero bytes, as its offsets say, but NumPy would fail much later.
    assert_refused(path, raw({"x": entry(shape=shape, offsets=(0, 0))}))


@pytest.mark.parametrize(
    "offsets",
    [
        None,
        8,
        "08",
        {},
        {"0": 0, "8": 8},
        [],
        [8],
        [0, 8, 8],
        ["0", "8"],
        [0.0, 8.0],
        [False, 8],
        [None, 8],
        [-8, 0],
        [8, 0],
        [8, 16],
        [0, 16],
        [0, 9],
        [0, 7],
        [-1, 7],
        [2**63, 2**63 + 8],
        [10**400, 10**400 + 8],
    ],
    ids=lambda offsets: repr(offsets)[:30],
)
def test_other_offsets_are_refused(offsets, path):
    assert_refused(path, raw({"x": entry(offsets=offsets)}, bytes(8)))


@pytest.mark.parametrize(
    ("first", "second"),
    [(0, 4), (0, 0), (0, 12), (4, 12)],
    ids=["overlap", "same", "gap", "gap before"],
)
def test_tensors_that_do_not_follow_each_other_are_refused(first, second, path):
    header = {
        "x": entry(offsets=(first, first + 8)),
        "y": entry(offsets=(second, second + 8)),
    }
    assert_refused(path, raw(header, bytes(second + 8)))


def test_tensors_may_come_in_any_order(path):
    header = {
        "y": entry(offsets=(8, 16)),
        "nothing": entry(shape=(0,), offsets=(8, 8)),
        "x": entry(offsets=(0, 8)),
    }
    data = np.arange(4, dtype="float32").tobytes()
    path.write_bytes(raw(header, data))
    file = SafetensorsFile(path)
    assert file.read("x").tolist() == [0, 1]
    assert file.read("y").tolist() == [2, 3]
    assert file.read("nothing").shape == (0,)


def test_a_message_does_not_repeat_a_hostile_header(path):
    assert_refused(path, raw({"x": entry("F" * 10**6)}, bytes(8)))
    assert_refused(path, raw({"x": entry(shape=[3] * 10**5)}, bytes(8)))


# ---- anything at all --------------------------------------------------------

NUMBERS = st.one_of(
    st.integers(-3, 40),
    st.sampled_from([2**31, 2**32, 2**62, 2**63, 2**64, 10**40]),
)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.floats() | st.text(max_size=4),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.text(max_size=4), inner, max_size=3),
    ),
    max_leaves=8,
)
ENTRIES = st.fixed_dictionaries(
    {},
    optional={
        "dtype": st.sampled_from([*DTYPES, "F4", None]) | JSON,
        "shape": st.lists(NUMBERS, max_size=4) | JSON,
        "data_offsets": st.lists(NUMBERS, min_size=2, max_size=2) | JSON,
    },
)


def read_all(content):
    """Read a file; whether there is no error, which must be a ValueError."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        path.write_bytes(content)
        start = time.process_time()
        try:
            file = SafetensorsFile(path)
        except ValueError as error:
            assert str(path) in str(error)
            return False
        finally:
            assert time.process_time() - start < SECONDS
        for name in file.entries:
            np.array(file.read(name))
        return True


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_random_bytes_are_a_file_or_a_value_error(content):
    read_all(content)


@settings(max_examples=200)
@given(st.dictionaries(st.text(max_size=4), ENTRIES | JSON, max_size=3) | JSON)
def test_a_random_header_is_a_file_or_a_value_error(header):
    read_all(raw(header, bytes(32)))


@settings(max_examples=200)
@given(st.data())
def test_a_corrupted_header_is_a_file_or_a_value_error(data):
    content = bytearray(save({"a": np.ones((2, 3)), "b": np.ones(5, "uint8")}))
    length = 8 + int.from_bytes(content[:8], "little")
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, length - 1))
        content[position] = data.draw(st.integers(0, 255))
    # Nothing that the library refuses is read, except for what we leave out:
    # its header begins with a brace and its metadata are text.
    if read_all(bytes(content)):
        try:
            load(bytes(content))
        except SafetensorError as error:
            assert "metadata" in str(error) or "InvalidHeader" in str(error)


@given(st.data())
def test_whole_files_come_back(data):
    shapes = st.lists(st.integers(0, 4), max_size=4).map(tuple)
    tensors = {
        name: np.zeros(data.draw(shapes), DTYPES[data.draw(DTYPE_NAMES)])
        for name in data.draw(st.sets(st.text(max_size=5), max_size=4))
        if name != "__metadata__"
    }
    assert read_all(save(tensors))


DTYPE_NAMES = st.sampled_from(list(DTYPES))
