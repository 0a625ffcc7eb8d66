"""The gRPC services, asked with the official stubs."""

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import classification_pb2
from tensorflow_serving.apis import get_model_metadata_pb2
from tensorflow_serving.apis import get_model_status_pb2
from tensorflow_serving.apis import inference_pb2
from tensorflow_serving.apis import model_service_pb2_grpc
from tensorflow_serving.apis import predict_pb2
from tensorflow_serving.apis import prediction_service_pb2_grpc

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def stub(client):
    with client.channel() as channel:
        yield prediction_service_pb2_grpc.PredictionServiceStub(channel)


def make_request(signature_name, name="toy", **inputs):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    request.model_spec.signature_name = signature_name
    for key, value in inputs.items():
        if not isinstance(value, tensor_pb2.TensorProto):
            value = tf.make_tensor_proto(np.asarray(value))
        request.inputs[key].CopyFrom(value)
    return request


def predict(stub, *arguments, **inputs):
    response = stub.Predict(make_request(*arguments, **inputs), timeout=30)
    return {
        name: tf.make_ndarray(tensor)
        for name, tensor in response.outputs.items()
    }


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8"])
def test_ids_of_any_integer_dtype_are_taken(stub, texts, continued, dtype):
    inputs = {
        name: np.array(value, dtype)
        for name, value in texts([4, 5, 6], [7]).items()
    }
    outputs = predict(
        stub, "generate", **inputs, max_new_tokens=np.array([2], dtype)
    )
    assert outputs["token_ids"].dtype == "int32"
    assert outputs["token_ids"].tolist() == [
        continued([4, 5, 6], 2),
        [*continued([7], 2), 0, 0],
    ]
    assert outputs["lengths"].tolist() == [5, 3]


def test_strings_go_in_and_bytes_come_out(stub, continued):
    outputs = predict(stub, "generate_text", prompt=["ab"], max_new_tokens=[3])
    assert outputs["text"].tolist() == [bytes(continued(b"ab", 3)[2:])]


def test_the_answer_says_who_gave_it(stub, texts):
    inputs = texts([3])
    response = stub.Predict(make_request("", **inputs))
    assert response.model_spec.name == "toy"
    assert response.model_spec.version.value == 1
    assert response.model_spec.signature_name == "serving_default"


def test_a_filter_chooses_outputs(stub, texts):
    request = make_request("generate", **texts([3]))
    request.output_filter.append("lengths")
    assert [*stub.Predict(request).outputs] == ["lengths"]


def tensor(**fields):
    return tensor_pb2.TensorProto(**fields)


SHAPE = tf.TensorShape([10**6, 10**6]).as_proto()
NEGATIVE = tf.TensorShape([1, 1]).as_proto()
NEGATIVE.dim[0].size = -5


@pytest.mark.parametrize(
    ("change", "code", "reason"),
    [
        ({"name": "other"}, "NOT_FOUND", "Servable not found"),
        ({"signature_name": "x"}, "FAILED_PRECONDITION", "not found"),
        ({"extra": [1]}, "INVALID_ARGUMENT", "Sent extra"),
        ({"token_ids": [1]}, "INVALID_ARGUMENT", "shape"),
        ({"token_ids": [[1.5]]}, "INVALID_ARGUMENT", "float64"),
        ({"token_ids": [[2**40]]}, "INVALID_ARGUMENT", "range of int32"),
        (
            {"token_ids": np.array([[2**64 - 1]], "uint64")},
            "INVALID_ARGUMENT",
            "range of int32",
        ),
        ({"token_ids": [[999]]}, "INVALID_ARGUMENT", "vocabulary"),
        ({"token_ids": np.zeros((0, 1), "int32")}, "INVALID_ARGUMENT", "row"),
        ({"token_ids": [["a"]]}, "INVALID_ARGUMENT", "strings"),
        ({"temperature": [np.nan]}, "INVALID_ARGUMENT", "finite"),
        # One value stands for a million million.
        (
            {"token_ids": tensor(dtype=3, tensor_shape=SHAPE, int_val=[1])},
            "INVALID_ARGUMENT",
            "at most 4194304 bytes",
        ),
        (
            {"token_ids": tensor(dtype=3, tensor_shape=NEGATIVE)},
            "INVALID_ARGUMENT",
            "known shape",
        ),
        (
            {"token_ids": tensor(dtype=3, tensor_content=b"abc")},
            "INVALID_ARGUMENT",
            "token_ids",
        ),
        ({"token_ids": tensor(dtype=20)}, "INVALID_ARGUMENT", "dtype 20"),
        ({"token_ids": tensor(dtype=77)}, "INVALID_ARGUMENT", "dtype 77"),
    ],
)
def test_a_wrong_request_has_a_code(stub, texts, change, code, reason):
    request = {"signature_name": "generate", **texts([1]), **change}
    with pytest.raises(grpc.RpcError, match=reason) as error:
        stub.Predict(make_request(**request), timeout=30)
    assert error.value.code() == grpc.StatusCode[code]


def test_versions_by_number_but_not_by_label(stub, texts):
    request = make_request("score", **texts([1]))
    request.model_spec.version.value = 1
    assert stub.Predict(request).model_spec.version.value == 1
    request.model_spec.version.value = 9
    with pytest.raises(grpc.RpcError, match="NOT_FOUND"):
        stub.Predict(request)
    request.model_spec.version_label = "stable"
    with pytest.raises(grpc.RpcError, match="Labels are not supported"):
        stub.Predict(request)


def test_an_unknown_output_is_refused(stub, texts):
    request = make_request("score", **texts([1]))
    request.output_filter.append("nonsense")
    with pytest.raises(grpc.RpcError, match="output_filter"):
        stub.Predict(request)


def test_metadata_lists_the_signatures(stub):
    request = get_model_metadata_pb2.GetModelMetadataRequest()
    request.model_spec.name = "toy"
    with pytest.raises(grpc.RpcError, match="metadata_field"):
        stub.GetModelMetadata(request)
    request.metadata_field.append("signature_def")
    response = stub.GetModelMetadata(request)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    assert "generate" in signatures.signature_def
    assert response.model_spec.version.value == 1


def test_status_of_the_versions(client):
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "toy"
    with client.channel() as channel:
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        (status,) = stub.GetModelStatus(request).model_version_status
        assert (status.version, status.state) == (1, status.AVAILABLE)
        request.model_spec.name = "other"
        with pytest.raises(grpc.RpcError, match="NOT_FOUND"):
            stub.GetModelStatus(request)


def test_a_language_model_does_not_classify(stub):
    request = classification_pb2.ClassificationRequest()
    request.model_spec.name = "toy"
    request.input.example_list.examples.add()
    with pytest.raises(grpc.RpcError, match="Expected a signature with method"):
        stub.Classify(request)


def test_the_clients_deadline_counts(stub, texts):
    request = make_request("generate", **texts([1]), max_new_tokens=[1000])
    with pytest.raises(grpc.RpcError) as error:
        stub.Predict(request, timeout=0.001)
    assert error.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED


def test_bytes_that_are_no_message_are_refused(client):
    with client.channel() as channel:
        for method, code in (
            ("Predict", grpc.StatusCode.INVALID_ARGUMENT),
            ("MultiInference", grpc.StatusCode.INVALID_ARGUMENT),
            ("Dance", grpc.StatusCode.UNIMPLEMENTED),
        ):
            call = channel.unary_unary(
                f"/tensorflow.serving.PredictionService/{method}"
            )
            with pytest.raises(grpc.RpcError) as error:
                call(b"\x00", timeout=30)
            assert error.value.code() == code


def test_what_the_service_does_not_do_has_a_code(stub):
    with pytest.raises(grpc.RpcError) as error:
        stub.MultiInference(inference_pb2.MultiInferenceRequest())
    assert error.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_a_message_over_the_limit_is_refused(client, stub):
    request = make_request("score", token_ids=np.ones((1, 2**21), "int32"))
    with pytest.raises(grpc.RpcError) as error:
        stub.Predict(request)
    assert error.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
