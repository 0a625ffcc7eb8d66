"""The bearer token."""

import grpc
import pytest
from tensorflow_serving.apis import get_model_status_pb2
from tensorflow_serving.apis import model_service_pb2_grpc

from keras_moe.serving.access import is_authorized
from keras_moe.serving.access import read_token

pytestmark = pytest.mark.once

TOKEN = "correct horse"
WRONG = [
    {},
    {"Authorization": TOKEN},
    {"Authorization": "Bearer correct"},
    {"Authorization": f"Bearer {TOKEN}x"},
    {"Authorization": f"Basic {TOKEN}"},
    {"Authorization": "Bearer \xff"},
]


@pytest.fixture
def client(start):
    return start(token=TOKEN)


@pytest.mark.parametrize("path", ["/v1/models/toy", "/v1/models", "/metrics"])
def test_http_asks_for_the_token(client, path):
    for headers in WRONG:
        status, answer, _ = client.request("GET", path, headers=headers)
        assert status == 401
        assert answer["www-authenticate"] == "Bearer"
    for scheme in ("Bearer", "bearer"):
        headers = {"Authorization": f"{scheme} {TOKEN}"}
        assert client.request("GET", path, headers=headers)[0] == 200


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health_needs_no_token(client, path):
    assert client.request("GET", path)[0] == 200


def test_grpc_asks_for_the_token(client):
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "toy"
    with client.channel() as channel:
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        for metadata in ((), (("authorization", "Bearer wrong"),)):
            with pytest.raises(grpc.RpcError, match="server's token") as error:
                stub.GetModelStatus(request, metadata=metadata)
            assert error.value.code() == grpc.StatusCode.UNAUTHENTICATED
        metadata = (("authorization", f"Bearer {TOKEN}"),)
        assert stub.GetModelStatus(request, metadata=metadata)


def test_a_server_without_a_token_is_open():
    assert is_authorized("", None)


def test_the_token_comes_from_a_file_or_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv("KERAS_MOE_SERVE_TOKEN", raising=False)
    assert read_token() is None
    monkeypatch.setenv("KERAS_MOE_SERVE_TOKEN", "a")
    assert read_token() == "a"
    file = tmp_path / "token"
    file.write_text("b\n")
    assert read_token(file) == "b"
    for bad in ("", " \n", "é", "a\nb"):
        file.write_text(bad, "utf-8")
        with pytest.raises(ValueError, match="printable ASCII.*openssl"):
            read_token(file)
