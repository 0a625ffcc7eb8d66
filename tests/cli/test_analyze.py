"""`keras-moe analyze` from the shell."""

import json

import pytest
from typer.testing import CliRunner

from keras_moe.cli.analyze import read_texts
from keras_moe.cli.analyze import standard_texts
from keras_moe.cli.app import app
from keras_moe.cli.language_model import ModelSize
from keras_moe.cli.language_model import make_model

SIZE = ModelSize(
    hidden_dim=16, num_layers=1, num_experts=4, intermediate_dim=16
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    file = tmp_path_factory.mktemp("run") / "model.keras"
    make_model(SIZE).save(file)
    return file


def invoke(*arguments):
    result = CliRunner().invoke(app, ["analyze", *map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


@pytest.mark.once
def test_the_command_writes_a_page_and_its_numbers(model, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("caf\u00e9 au lait, " * 20, encoding="utf-8")
    utf16 = tmp_path / "utf16.txt"
    utf16.write_text("un caf\u00e9 noir, " * 20, encoding="utf-16")
    out = tmp_path / "out"
    output = invoke(
        *(model.parent, "--text", text, "--text", f"Noir={utf16}"),
        *("--window=16", "--tokens=160", "--compare", model, "--out", out),
    )
    assert "the token alone explains" in output
    assert sorted(each.name for each in out.iterdir()) == [
        "analysis.json",
        "index.html",
    ]
    report = json.loads((out / "analysis.json").read_text("utf-8"))
    assert report["texts"] == ["text.txt", "Noir"]
    assert report["tokens"] == 320
    assert report["agreement"]["first"] == [1.0]
    # The bytes of an e with an accent.
    assert {"c", "\\xc3", "\\xa9"} <= {*report["labels"]}
    page = (out / "index.html").read_text("utf-8")
    assert "Experts of" in page


@pytest.mark.once
def test_nothing_is_written_after_an_error(model, tmp_path):
    wrong = tmp_path / "wrong.txt"
    wrong.write_bytes(b"caf\xe9 au lait")
    empty = tmp_path / "empty.txt"
    empty.write_bytes(b" \n")
    out = tmp_path / "out"
    for text, words in (
        (tmp_path / "none.txt", "does not exist"),
        (tmp_path, "is no file"),
        (wrong, "Convert it to UTF-8"),
        (empty, "is empty"),
    ):
        with pytest.raises(ValueError, match=words):
            invoke(model, "--text", text, "--out", out)
    with pytest.raises(ValueError, match="there is no model"):
        invoke(tmp_path, "--out", out)
    with pytest.raises(ValueError, match="there is no model"):
        invoke(model, "--compare", tmp_path, "--out", out)
    assert not out.exists()


@pytest.mark.once
def test_names_of_texts_are_their_files_or_given(tmp_path):
    odd = tmp_path / "a=b.txt"
    odd.write_text("words")
    assert read_texts([str(odd)]) == {"a=b.txt": "words"}
    assert read_texts([f"x={odd}"]) == {"x": "words"}
    with pytest.raises(ValueError, match="twice"):
        read_texts([str(odd), str(odd)])


@pytest.mark.once
def test_texts_of_the_standard_library_are_long():
    texts = standard_texts()
    assert all(len(each) > 100_000 for each in texts.values())
    assert "def " in texts["Python source"]
