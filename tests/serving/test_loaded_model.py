"""A version in memory: its description, its signatures, its warm-up."""

import json

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from keras_moe.serving.loaded_model import LoadedModel

pytestmark = pytest.mark.once


def test_defaults_are_read_from_the_file(saved_version):
    model = LoadedModel(saved_version)
    generate = model.signatures["generate"]
    assert generate.required == ["padding_mask", "token_ids"]
    assert generate.defaults["max_new_tokens"].tolist() == [64]
    assert generate.defaults["stop_token_ids"].tolist() == [[-1]]
    assert generate.inputs["token_ids"] == (tf.int32, (None, None))
    assert generate.outputs["lengths"].dtype == tf.int32
    assert sorted(model.signatures) == [
        "embed",
        "generate",
        "generate_text",
        "router_stats",
        "score",
        "serving_default",
    ]
    assert model.version == 1
    assert model.description.vocabulary_size == 256


def write_warmup(folder, **inputs):
    log = prediction_log_pb2.PredictionLog()
    request = log.predict_log.request
    request.model_spec.signature_name = "generate"
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(np.array(value)))
    file = folder / "assets.extra" / "tf_serving_warmup_requests"
    with tf.io.TFRecordWriter(str(file)) as writer:
        writer.write(log.SerializeToString())


def test_recorded_requests_are_answered_before_it_serves(
    versions_folder, monkeypatch
):
    folder = versions_folder / "1"
    write_warmup(
        folder, token_ids=np.int32([[1]]), padding_mask=np.int32([[1]])
    )
    ran = []
    run = LoadedModel.run
    monkeypatch.setattr(
        LoadedModel,
        "run",
        lambda self, signature, arrays: ran.append(
            (signature.name, run(self, signature, arrays)["lengths"].tolist())
        ),
    )
    LoadedModel(folder)
    assert ran == [("generate", [65])]


def test_a_recorded_request_that_fails_refuses_the_version(versions_folder):
    folder = versions_folder / "1"
    write_warmup(folder, token_ids=np.float32([[1]]))
    with pytest.raises(Exception):  # noqa: B017 whatever TensorFlow raises
        LoadedModel(folder)


@pytest.mark.parametrize("content", ["{", "[]", '{"format": 2}'])
def test_a_broken_description_refuses_the_version(versions_folder, content):
    file = versions_folder / "1" / "assets.extra" / "keras_moe.json"
    file.write_text(content)
    with pytest.raises(ValueError):
        LoadedModel(versions_folder / "1")


def test_a_version_without_a_description_is_a_model_of_its_own(versions_folder):
    file = versions_folder / "1" / "assets.extra" / "keras_moe.json"
    assert json.loads(file.read_text())["task"] == "causal_lm"
    file.unlink()
    model = LoadedModel(versions_folder / "1")
    assert model.description.task == "other"
    assert model.description.content == {}
    assert model.tokenizer is None


def test_another_tag_is_refused(tmp_path):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"")
    with pytest.raises(ValueError, match='tag "serve"'):
        LoadedModel(tmp_path / "1")
