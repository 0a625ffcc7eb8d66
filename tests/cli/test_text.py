"""Text as bytes."""

import numpy as np
import pytest

from keras_moe.cli.text import decode
from keras_moe.cli.text import encode
from keras_moe.cli.text import read_text
from keras_moe.cli.text import unigram_entropy
from keras_moe.cli.text import windows

# Files and NumPy, no tensor of a backend.
pytestmark = pytest.mark.once


@pytest.fixture
def folder(tmp_path):
    for index in range(40):
        text = f"def function_{index}():\n    return {index}\n" * 40
        (tmp_path / f"module_{index}.py").write_text(text)
    (tmp_path / "data.bin").write_bytes(b"\xff" * 5000)
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "test_it.py").write_text("SKIPPED" * 1000)
    return tmp_path


def test_standard_library_has_sources_and_the_language_reference():
    training, held_out = read_text()
    text = training.tobytes() + held_out.tobytes()
    assert b"class OrderedDict" in text
    assert b'The "if" statement is used for conditional execution' in text


def test_files_are_held_out_whole(folder):
    training, held_out = (part.tobytes() for part in read_text(folder))
    for index in range(40):
        name = f"function_{index}(".encode()
        assert (name in training) != (name in held_out)
    assert len(training) > len(held_out) > 0


def test_only_text_outside_of_tests_is_read(folder):
    training, held_out = read_text(folder)
    text = training.tobytes() + held_out.tobytes()
    assert b"SKIPPED" not in text
    assert b"\xff" not in text


def test_a_single_file_is_cut_at_nine_tenths(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(b"a" * 18_000 + b"b" * 2_000)
    training, held_out = read_text(path)
    assert training.tobytes() == b"a" * 18_000
    assert held_out.tobytes() == b"b" * 2_000


def test_a_folder_with_few_files_is_cut_at_nine_tenths(tmp_path):
    (tmp_path / "one.txt").write_bytes(b"a" * 9_999)
    (tmp_path / "two.txt").write_bytes(b"b" * 2_000)
    training, held_out = read_text(tmp_path)
    # 9,999 + 2,000 and the line break between them
    assert (len(training), len(held_out)) == (10_800, 1_200)


def test_missing_and_tiny_text_are_refused(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        read_text(tmp_path / "nowhere")
    (tmp_path / "tiny.txt").write_text("x")
    with pytest.raises(ValueError, match="with 1 bytes"):
        read_text(tmp_path)


# A tenth must hold 1,000 bytes, or a window and the byte after it.
@pytest.mark.parametrize(("window", "needed"), [(128, 10_000), (2000, 20_010)])
def test_the_bytes_that_are_needed_are_named_and_suffice(
    tmp_path, window, needed
):
    path = tmp_path / "text.txt"
    path.write_bytes(b"a" * (needed - 1))
    with pytest.raises(ValueError, match=f"at least {needed:,} bytes"):
        read_text(path, window)
    path.write_bytes(b"a" * needed)
    training, held_out = read_text(path, window)
    windows(training, 1, window, seed=0)
    windows(held_out, 1, window, seed=0)


def test_labels_are_the_next_bytes():
    text = np.arange(200, dtype="uint8")
    inputs, labels = windows(text, count=5, length=8, seed=3)
    np.testing.assert_array_equal(inputs["token_ids"] + 1, labels)
    assert inputs["padding_mask"].all()
    assert labels.shape == (5, 8)


def test_windows_need_more_text_than_their_length():
    with pytest.raises(ValueError, match="8 bytes for windows of 8"):
        windows(np.zeros(8, "uint8"), 1, 8, seed=0)


def test_entropy_of_a_fair_die_is_the_logarithm_of_its_sides():
    text = np.repeat(np.arange(6, dtype="uint8"), 10)
    assert unigram_entropy(text) == pytest.approx(np.log(6))


def test_text_survives_bytes():
    assert decode(encode("naïve ✓")) == "naïve ✓"
    assert decode([0xFF, 0x41]) == "\ufffdA"
