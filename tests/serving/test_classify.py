"""Classify and Regress, for models that do that."""

import json

import pytest
import tensorflow as tf
from tensorflow_serving.apis import classification_pb2
from tensorflow_serving.apis import prediction_service_pb2_grpc
from tensorflow_serving.apis import regression_pb2

pytestmark = pytest.mark.once


class Linear(tf.Module):
    """Scores of three classes, and their sum, of two features."""

    def __init__(self):
        super().__init__()
        self.kernel = tf.Variable([[1.0, 2.0, 3.0], [0.5, 0.0, -1.0]])

    @tf.function(input_signature=[tf.TensorSpec((None, 2), name="features")])
    def classify(self, features):
        return {"scores": features @ self.kernel}

    @tf.function(input_signature=[tf.TensorSpec((None, 2), name="features")])
    def regress(self, features):
        return {"value": tf.reduce_sum(features @ self.kernel, 1)}


@pytest.fixture
def client(start, tmp_path):
    folder = tmp_path / "linear" / "1"
    model = Linear()
    tf.saved_model.save(
        model,
        str(folder),
        {"serving_default": model.classify, "value": model.regress},
    )
    (folder / "assets.extra").mkdir()
    (folder / "assets.extra" / "keras_moe.json").write_text(
        json.dumps({"format": 1, "task": "classifier"})
    )
    return start(folder.parent)


# (1, 2) @ kernel and (0, 4) @ kernel
EXAMPLES = [{"features": [1.0, 2.0]}, {"features": [0, 4]}]
SCORES = [[2.0, 2.0, 1.0], [2.0, 0.0, -4.0]]


def test_classify_over_rest(client):
    status, answer = client.post("classify", {"examples": EXAMPLES})
    assert status == 200
    assert answer["results"] == [
        [[str(label), score] for label, score in enumerate(row)]
        for row in SCORES
    ]


def test_regress_over_rest_with_shared_features(client):
    status, answer = client.post(
        "regress",
        {
            "signature_name": "value",
            "context": EXAMPLES[0],
            "examples": [{}, EXAMPLES[1]],
        },
    )
    assert (status, answer) == (200, {"results": [5.0, -2.0]})


@pytest.mark.parametrize(
    ("verb", "body", "reason"),
    [
        ("classify", {}, "list of objects"),
        ("classify", {"examples": []}, "at least one example"),
        ("classify", {"examples": [1]}, "list of objects"),
        ("classify", {"examples": [{"features": [1]}]}, "shape"),
        ("classify", {"examples": [{"features": ["a", "b"]}]}, "strings"),
        ("classify", {"examples": [{"other": [1]}]}, "Sent extra"),
        ("classify", {"examples": [*EXAMPLES, {}]}, "every example"),
        (
            "classify",
            {"signature_name": "value", "examples": EXAMPLES},
            "one score for each class",
        ),
        ("regress", {"examples": EXAMPLES}, "one number for each example"),
    ],
)
def test_a_wrong_request_is_refused(client, verb, body, reason):
    status, answer = client.post(verb, body)
    assert status == 400
    assert reason in answer["error"]


def fill(request):
    request.model_spec.name = "linear"
    for example in EXAMPLES:
        feature = request.input.example_list.examples.add().features.feature
        feature["features"].float_list.value.extend(example["features"])
    return request


def test_both_over_grpc(client):
    with client.channel() as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        response = stub.Classify(
            fill(classification_pb2.ClassificationRequest())
        )
        made = response.result.classifications
        assert [[x.score for x in row.classes] for row in made] == SCORES
        assert [x.label for x in made[0].classes] == ["0", "1", "2"]
        request = fill(regression_pb2.RegressionRequest())
        request.model_spec.signature_name = "value"
        response = stub.Regress(request)
        assert [x.value for x in response.result.regressions] == [5.0, -2.0]
