"""Text to token ids and back."""

import json
import pathlib

import pytest

from keras_moe.serving.description import Description
from keras_moe.serving.errors import ServingError
from keras_moe.serving.tokenizer import ByteTokenizer
from keras_moe.serving.tokenizer import TextStream
from keras_moe.serving.tokenizer import encode_prompt
from keras_moe.serving.tokenizer import read_tokenizer

pytestmark = pytest.mark.once


def describe(tokenizer):
    return Description({}, "causal_lm", None, tokenizer)


def words(folder):
    """Writes a tokenizer of words, which drops the space in front."""
    tokenizers = pytest.importorskip("tokenizers")
    model = tokenizers.models.WordLevel(
        {"a": 0, "b": 1, "c": 2, "?": 3}, unk_token="?"
    )
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    file = folder / "assets.extra" / "tokenizer" / "tokenizer.json"
    file.parent.mkdir(parents=True)
    tokenizer.save(str(file))
    settings = {"kind": "tokenizers", "file": "tokenizer/tokenizer.json"}
    return read_tokenizer(folder, describe(settings))


def test_bytes_go_both_ways():
    tokenizer = read_tokenizer(pathlib.Path(), describe({"kind": "bytes"}))
    assert tokenizer.encode("é") == [0xC3, 0xA9]
    assert tokenizer.decode([0xC3, 0xA9, 0xC3]) == "é\N{REPLACEMENT CHARACTER}"


def test_a_file_of_the_package_tokenizers_is_read(tmp_path):
    tokenizer = words(tmp_path)
    assert tokenizer.encode("a c") == [0, 2]
    assert tokenizer.decode([0, 2]) == "a c"


@pytest.mark.parametrize("settings", [None, {"kind": "unheard of"}])
def test_without_a_tokenizer_a_prompt_is_refused(settings):
    tokenizer = read_tokenizer(pathlib.Path(), describe(settings))
    assert tokenizer is None
    with pytest.raises(ServingError, match="has no tokenizer"):
        encode_prompt(tokenizer, "a")
    assert TextStream(tokenizer, [1]).add([2]) == ""


def test_half_a_character_stays_back():
    stream = TextStream(ByteTokenizer(), b"a")
    euro = "€".encode()
    assert stream.add([98, euro[0]]) == "b"
    assert stream.add([98, *euro[:2]]) == ""
    assert stream.add([98, *euro]) == "€"
    assert stream.add([98, *euro, 99]) == "c"
    assert stream.text == "b€c"


def test_a_character_may_begin_in_the_prompt():
    euro = "€".encode()
    stream = TextStream(ByteTokenizer(), euro[:1])
    # Its half in the prompt is not told; what is behind it is.
    assert stream.add([*euro[1:], 98], final=True).endswith("b")


def test_bytes_that_are_no_text_become_marks_at_the_end():
    stream = TextStream(ByteTokenizer(), b"a")
    assert stream.add([0xFF]) == ""
    assert stream.add([0xFF, 98]) == "\N{REPLACEMENT CHARACTER}b"
    assert stream.add([0xFF, 98, 0xC3], final=True) == (
        "\N{REPLACEMENT CHARACTER}"
    )


def test_spaces_between_words_are_kept(tmp_path):
    stream = TextStream(words(tmp_path), [0])
    assert stream.add([1]) == " b"
    assert stream.add([1, 2]) == " c"


def test_json_settings_are_those_of_the_contract():
    # The description is a file that others write: its names are fixed.
    settings = json.loads('{"kind": "tokenizers", "file": "x/absent.json"}')
    with pytest.raises(Exception, match="No such file"):
        read_tokenizer(pathlib.Path("/nowhere"), describe(settings))
