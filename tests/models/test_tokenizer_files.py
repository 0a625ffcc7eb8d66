"""A tokenizer's files and ids of special tokens, written for others."""

import json

import keras
import keras_hub
import numpy as np
import pytest
import tokenizers
from tokenizers import processors
from transformers import AutoConfig
from transformers import AutoTokenizer
from transformers import GenerationConfig

from keras_moe.models import MixtralBackbone
from keras_moe.models import MixtralCausalLM
from keras_moe.models.json_tokenizer import JsonTokenizer

# Files and Python, no tensor of a backend.
pytestmark = pytest.mark.once

WORDS = ["<s>", "</s>", "<pad>", "<unk>", "a", "b", "c", "<end>"]
TEXT = "a c b d"
CHAT = "{{ messages }} \u2581"


def library_tokenizer():
    vocabulary = {word: i for i, word in enumerate(WORDS)}
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.WordLevel(vocabulary, unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    return tokenizer


def make_model(tokenizer=None, vocabulary_size=8):
    backbone = MixtralBackbone(
        vocabulary_size=vocabulary_size,
        num_layers=1,
        num_query_heads=2,
        num_key_value_heads=1,
        hidden_dim=8,
        intermediate_dim=8,
        num_experts=2,
    )
    preprocessor = None
    if tokenizer is not None:
        preprocessor = keras_hub.models.CausalLMPreprocessor(tokenizer)
    return MixtralCausalLM(backbone, preprocessor)


@pytest.fixture
def published(tmp_path):
    """Returns a folder with weights, settings and a tokenizer."""
    folder = tmp_path / "published"
    make_model().save_pretrained(folder)
    tokenizer = library_tokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 0)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    config = json.loads((folder / "config.json").read_text())
    config.update(eos_token_id=[1, 7], unknown={"a": [1]})
    for name, value in (
        ("config", config),
        ("generation_config", {"eos_token_id": [1, 7], "temperature": 0.5}),
        ("tokenizer_config", {"eos_token": "</s>", "pad_token": "<pad>"}),
    ):
        (folder / f"{name}.json").write_text(json.dumps(value))
    (folder / "chat_template.jinja").write_text(CHAT, encoding="utf-8")
    return folder


@pytest.mark.parametrize("way", ["keras", "preset", "clone"])
def test_what_a_folder_says_survives_every_way_of_saving(
    way, published, tmp_path
):
    model = MixtralCausalLM.from_preset(published)
    if way == "keras":
        model.save(tmp_path / "model.keras")
        model = keras.models.load_model(tmp_path / "model.keras", compile=False)
    elif way == "preset":
        model.save_to_preset(str(tmp_path / "preset"))
        model = MixtralCausalLM.from_preset(str(tmp_path / "preset"))
    else:
        preprocessor = model.preprocessor
        model = MixtralCausalLM.from_config(model.get_config())
        model.preprocessor = preprocessor
    model.save_pretrained(tmp_path / "again")
    for each in published.iterdir():
        again = tmp_path / "again" / each.name
        if each.name in ("config.json", "generation_config.json"):
            assert json.loads(again.read_text()) == json.loads(each.read_text())
        elif each.name != "model.safetensors":
            assert again.read_bytes() == each.read_bytes()


def test_random_weights_keep_what_the_folder_says(published, tmp_path):
    (published / "model.safetensors").unlink()
    model = MixtralCausalLM.from_preset(published, load_weights=False)
    model.save_pretrained(tmp_path / "again")
    config = json.loads((tmp_path / "again" / "config.json").read_text())
    assert config["eos_token_id"] == [1, 7]


def test_an_argument_that_differs_is_written(published, tmp_path):
    model = MixtralCausalLM.from_preset(published, sliding_window=3)
    model.save_pretrained(tmp_path / "again")
    config = json.loads((tmp_path / "again" / "config.json").read_text())
    assert (config["sliding_window"], config["unknown"]) == (3, {"a": [1]})


@pytest.mark.parametrize("start", [0, None])
def test_transformers_reads_a_tokenizer_made_here(start, tmp_path):
    tokenizer = JsonTokenizer(
        library_tokenizer().to_str(),
        start_token_id=start,
        end_token_id=1,
        pad_token_id=2,
        end_token2_id=7,
    )
    make_model(tokenizer).save_pretrained(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    expected = [4, 6, 5, 3]
    starts = [] if start is None else [start]
    assert theirs(TEXT)["input_ids"] == starts + expected
    assert (theirs.eos_token_id, theirs.pad_token_id) == (1, 2)
    assert theirs.bos_token_id == start
    for settings in (
        AutoConfig.from_pretrained(tmp_path),
        GenerationConfig.from_pretrained(tmp_path),
    ):
        assert settings.eos_token_id == [1, 7]
        assert (settings.bos_token_id, settings.pad_token_id) == (start, 2)
    ours = MixtralCausalLM.from_preset(tmp_path).preprocessor.tokenizer
    assert np.array_equal(ours(TEXT), expected)
    for name in ("start", "end", "pad"):
        name = f"{name}_token_id"
        assert getattr(ours, name) == getattr(tokenizer, name)
    assert ours.end_token2_id == 7


def test_a_model_without_tokenizer_borrows_no_ids(tmp_path):
    make_model().save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    ids = (config.bos_token_id, config.eos_token_id, config.pad_token_id)
    assert ids == (None, None, None)


def test_a_new_tokenizer_replaces_the_ids_of_the_folder(published, tmp_path):
    model = MixtralCausalLM.from_preset(published, preprocessor=None)
    tokenizer = JsonTokenizer(
        library_tokenizer().to_str(), end_token_id=7, pad_token_id=2
    )
    model.preprocessor = keras_hub.models.CausalLMPreprocessor(tokenizer)
    model.save_pretrained(tmp_path / "again")
    for name in ("config", "generation_config"):
        settings = json.loads((tmp_path / f"again/{name}.json").read_text())
        assert settings["eos_token_id"] == 7
    assert settings["temperature"] == 0.5


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")
def test_another_class_of_tokenizer_is_not_written_silently(tmp_path):
    tokenizer = keras_hub.tokenizers.ByteTokenizer()
    with pytest.warns(UserWarning, match="ByteTokenizer.*gets no tokenizer"):
        make_model(tokenizer, 256).save_pretrained(tmp_path)
