"""What a version folder says of its model."""

import keras
import pytest

from keras_moe.export.description import describe_model
from keras_moe.export.description import read_description
from keras_moe.export.description import write_description
from keras_moe.export.endpoints import Endpoint
from keras_moe.export.tokenizer_assets import TokenizerAssets
from tests.models.small_backbones import make_task

# Attributes of models, whatever the backend.
pytestmark = pytest.mark.once

NO_TOKENIZER = TokenizerAssets(None, None, [])


def describe(model, tokenizer=NO_TOKENIZER, **options):
    return describe_model(model, tokenizer, (), **options)


def test_a_causal_language_model():
    task = make_task("deepseek_v2", num_layers=3, num_dense_layers=1)
    tokenizer = TokenizerAssets({"kind": "bytes"}, None, [2])
    endpoint = Endpoint("score", None, "score", ())
    assert describe_model(task, tokenizer, (endpoint,)) == {
        "format": 1,
        "model": "DeepSeekV2CausalLM",
        "task": "causal_lm",
        "vocabulary_size": task.backbone.vocabulary_size,
        "num_experts": [8, 8],
        # The first block is dense.
        "sparse_layers": [1, 2],
        "stop_token_ids": [2],
        "tokenizer": {"kind": "bytes"},
        "chat_template": None,
        "dtype_policy": "float32",
        "weights": "float",
        "signatures": ["serving_default", "score"],
    }


def test_the_blocks_of_a_decoder_count_on_from_those_of_the_encoder():
    described = describe(make_task("switch"))
    assert described["task"] == "seq2seq_lm"
    # Two blocks in each stack, every second one sparse.
    assert described["sparse_layers"] == [1, 3]
    assert described["num_experts"] == [4, 4]


def test_a_classifier():
    assert describe(make_task("switch_classifier"))["task"] == "classifier"


def test_any_other_model(sparse_model):
    described = describe(sparse_model)
    assert described["task"] == "other"
    assert described["model"] == "Sequential"
    assert described["vocabulary_size"] is None
    # The layers themselves are counted where there are no blocks.
    assert described["sparse_layers"] == [0, 1]
    assert described["num_experts"] == [8, 4]


def test_a_model_without_experts():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    described = describe(model)
    assert described["num_experts"] == described["sparse_layers"] == []


def test_weights_that_are_rounded_in_the_file_alone(sparse_model):
    assert describe(sparse_model, weights="int8")["weights"] == "int8"


def test_it_is_read_as_it_was_written(tmp_path):
    assert read_description(tmp_path) == {}
    described = {"format": 1, "model": "Größe"}
    write_description(tmp_path, described)
    assert read_description(tmp_path) == described
    assert (tmp_path / "assets.extra" / "keras_moe.json").is_file()
