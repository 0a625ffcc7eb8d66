"""Requests that nobody would write, over both protocols."""

import json
import urllib.parse

import grpc
import pytest
from hypothesis import HealthCheck
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from tensorflow_serving.apis import predict_pb2
from tensorflow_serving.apis import prediction_service_pb2_grpc

pytestmark = [pytest.mark.once, pytest.mark.exhaustive]

NAMES = st.sampled_from(
    [
        "token_ids",
        "padding_mask",
        "max_new_tokens",
        "temperature",
        "top_k",
        "top_p",
        "seed",
        "stop_token_ids",
        "prompt",
        "b64",
        "other",
    ]
)
SIGNATURES = st.sampled_from(
    ["", "serving_default", "generate", "generate_text", "score", "embed"]
    + ["router_stats", "other"]
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-3, 300)
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=2)
    ),
    max_leaves=8,
)
INPUTS = st.dictionaries(NAMES, VALUES, max_size=4)
BODIES = st.fixed_dictionaries(
    {},
    optional={
        "signature_name": SIGNATURES | LEAVES,
        "inputs": INPUTS | VALUES,
        "instances": st.lists(INPUTS, max_size=3) | VALUES,
        "examples": st.lists(INPUTS, max_size=2),
    },
)
STREAMS = st.dictionaries(NAMES, VALUES, max_size=4)
FEW = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
# Statuses that say what is wrong with a request.
REFUSALS = (400, 404, 413)


@FEW
@given(verb=st.sampled_from(["predict", "classify", "regress"]), body=BODIES)
def test_any_json_has_a_proper_status(client, verb, body):
    status, answer = client.post(verb, body)
    assert status == 200 or status in REFUSALS and answer["error"]


@FEW
@given(body=STREAMS)
def test_any_stream_has_a_proper_status(client, body):
    status, _, answer = client.request(
        "POST", "/v1/models/toy:stream", json.dumps(body)
    )
    assert status == 200 or status in REFUSALS and json.loads(answer)["error"]


@FEW
@given(body=st.binary(max_size=200), path=st.text(max_size=20))
def test_any_bytes_have_a_proper_status(client, body, path):
    for address in ("/v1/models/toy:predict", f"/{urllib.parse.quote(path)}"):
        status, _, _ = client.request("POST", address, body)
        assert status in (200, 405, *REFUSALS)


CODES = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
)


@st.composite
def tensors(draw):
    """Draws tensors whose shape, type and content need not agree."""
    tensor = predict_pb2.PredictRequest().inputs["x"]
    tensor.dtype = draw(st.sampled_from([1, 2, 3, 7, 9, 10, 14, 20, 0, 99]))
    if draw(st.booleans()):
        tensor.tensor_shape.unknown_rank = draw(st.booleans())
    for size in draw(st.lists(st.integers(-2, 3) | st.just(2**40), max_size=3)):
        tensor.tensor_shape.dim.add().size = size
    tensor.tensor_content = draw(st.binary(max_size=24))
    tensor.int_val.extend(draw(st.lists(st.integers(-1, 300), max_size=4)))
    tensor.float_val.extend(draw(st.lists(st.floats(width=32), max_size=2)))
    tensor.string_val.extend(draw(st.lists(st.binary(max_size=4), max_size=2)))
    return tensor


@FEW
@given(
    name=st.sampled_from(["toy", "toy", "other"]),
    signature=SIGNATURES,
    inputs=st.dictionaries(NAMES, tensors(), max_size=4),
    outputs=st.lists(st.sampled_from(["lengths", "x"]), max_size=2),
)
def test_any_message_has_a_proper_code(
    client, name, signature, inputs, outputs
):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    request.model_spec.signature_name = signature
    for key, value in inputs.items():
        request.inputs[key].CopyFrom(value)
    request.output_filter.extend(outputs)
    with client.channel() as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        try:
            stub.Predict(request, timeout=30)
        except grpc.RpcError as error:
            assert error.code() in CODES, error


@FEW
@given(content=st.binary(max_size=60))
def test_bytes_that_are_no_message_do_no_harm(client, content):
    with client.channel() as channel:
        call = channel.unary_unary(
            "/tensorflow.serving.PredictionService/Predict"
        )
        with pytest.raises(grpc.RpcError) as error:
            call(content, timeout=30)
        assert error.value.code() in CODES
    assert client.request("GET", "/healthz")[0] == 200
