"""The tokenizer's files in a version folder."""

import json
import os

import keras_hub
import pytest
import tokenizers

from keras_moe.export.tokenizer_assets import write_tokenizer
from keras_moe.models.json_tokenizer import JsonTokenizer
from tests.models.small_backbones import make_task

# Files, whatever the backend.
pytestmark = pytest.mark.once

CHAT = "{{ messages }} \u2581"


@pytest.fixture(scope="module")
def contents():
    """What a `tokenizer.json` of four words says."""
    words = {word: i for i, word in enumerate(["<s>", "</s>", "a", "b"])}
    model = tokenizers.models.WordLevel(words, unk_token="<s>")
    return tokenizers.Tokenizer(model).to_str()


def make_model(tokenizer):
    preprocessor = keras_hub.models.CausalLMPreprocessor(tokenizer)
    task = make_task("mixtral", num_layers=1)
    task.preprocessor = preprocessor
    return task


def test_a_tokenizer_is_written_as_its_library_reads_it(contents, tmp_path):
    tokenizer = JsonTokenizer(
        contents, end_token_id=1, pad_token_id=1, stop_token_ids=[3]
    )
    tokenizer.published_files = {"chat_template.jinja": CHAT.encode()}
    assets = write_tokenizer(make_model(tokenizer), tmp_path)
    assert assets.description == {
        "kind": "tokenizers",
        "file": "tokenizer/tokenizer.json",
    }
    assert assets.chat_template == "tokenizer/chat_template.jinja"
    assert assets.stop_token_ids == [1, 3]
    read = tokenizers.Tokenizer.from_file(
        str(tmp_path / "tokenizer" / "tokenizer.json")
    )
    assert read.encode("a").ids == [2]
    template = tmp_path / "tokenizer" / "chat_template.jinja"
    assert template.read_text("utf-8") == CHAT


@pytest.mark.parametrize(
    "template", [CHAT, [{"name": "default", "template": CHAT}]]
)
def test_a_template_in_the_settings_gets_a_file(contents, tmp_path, template):
    tokenizer = JsonTokenizer(contents, end_token_id=1, pad_token_id=1)
    settings = json.dumps({"chat_template": template})
    tokenizer.published_files = {"tokenizer_config.json": settings.encode()}
    assets = write_tokenizer(make_model(tokenizer), tmp_path)
    file = tmp_path / assets.chat_template
    assert file.read_text("utf-8") == CHAT


def test_a_tokenizer_without_a_template(contents, tmp_path):
    tokenizer = JsonTokenizer(contents, end_token_id=1, pad_token_id=1)
    assets = write_tokenizer(make_model(tokenizer), tmp_path)
    assert assets.chat_template is None
    assert sorted(os.listdir(tmp_path / "tokenizer")) == [
        "tokenizer.json",
        "tokenizer_config.json",
    ]


@pytest.mark.parametrize(
    ("size", "expected"), [(256, {"kind": "bytes"}), (48, None)]
)
def test_a_model_of_256_tokens_reads_bytes(tmp_path, size, expected):
    model = make_task("mixtral", num_layers=1, vocabulary_size=size)
    assets = write_tokenizer(model, tmp_path)
    assert assets == (expected, None, [])
    assert os.listdir(tmp_path) == []


def test_other_models_have_no_tokenizer(sparse_model, tmp_path):
    assert write_tokenizer(sparse_model, tmp_path) == (None, None, [])
