"""The server as a whole: start, health, the page, the end."""

import asyncio
import concurrent.futures
import contextlib
import http.client
import socket
import threading
import time

import pytest

from keras_moe.serving import Limits
from keras_moe.serving import Server

pytestmark = pytest.mark.once


def test_health_and_metrics(client, texts):
    assert client.request("GET", "/healthz")[0] == 200
    assert client.request("GET", "/readyz")[0] == 200
    before = client.metric("keras_moe_requests_total")
    client.predict("score", texts([1]))
    client.post("predict", {})
    client.post("predict", {"signature_name": "made up", "inputs": {}})
    _, headers, body = client.request("GET", "/metrics")
    assert headers["content-type"].startswith("text/plain")
    assert client.metric("keras_moe_requests_total") == before + 3
    for signature, code in (
        ("score", "OK"),
        ("serving_default", "INVALID_ARGUMENT"),
        ("unknown", "FAILED_PRECONDITION"),
    ):
        labels = f'{{code="{code}",protocol="rest",signature="{signature}"}}'
        assert f"keras_moe_requests_total{labels} " in body.decode()
    # A name that a client made up is no label.
    assert "made up" not in body.decode()


def test_the_page_may_load_nothing_from_elsewhere(client):
    status, headers, _ = client.request("GET", "/style.css")
    # The files are others' work; their headers come from here.
    if status == 200:
        assert "default-src 'none'" in headers["content-security-policy"]


def test_a_taken_port_is_an_error(versions_folder):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(OSError, match="in use"):
            Server(versions_folder, port=taken.getsockname()[1])


def test_a_taken_port_for_grpc_is_an_error(start, versions_folder):
    first = start()
    with pytest.raises(OSError, match="Expected a free port for gRPC"):
        start_alone(versions_folder, first.server.grpc_port)


def start_alone(folder, grpc_port):
    server = Server(folder, port=0, grpc_port=grpc_port)
    asyncio.run(server.run(asyncio.Event()))


def test_a_folder_without_versions_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="keras-moe export"):
        Server(tmp_path, port=0)


def test_grpc_can_be_left_out(start):
    client = start(grpc_port=None)
    assert client.get("/v1/models/toy")[0] == 200


def test_the_name_may_be_another(start):
    client = start(name="other")
    assert client.get("/v1/models/other")[0] == 200
    assert client.get("/v1/models/toy")[0] == 404


def test_what_is_in_progress_is_answered_at_the_end(start, continued):
    client = start(limits={"stream_chunk": 1})
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        future = pool.submit(
            client.stream, token_ids=[1, 2], max_new_tokens=150
        )
        limit = time.monotonic() + 10
        while not client.metric("keras_moe_generated_tokens_total"):
            assert time.monotonic() < limit
        client.stop()
        events = future.result(30)
    assert events[-1][1]["token_ids"] == continued([1, 2], 150)[2:]
    with pytest.raises(OSError):
        client.request("GET", "/healthz")


def test_what_takes_too_long_is_given_up_at_the_end(start):
    client = start(limits={"stream_chunk": 1, "grace_seconds": 1})

    def ask():
        with contextlib.suppress(OSError, http.client.HTTPException):
            client.stream(token_ids=[1], max_new_tokens=1000)

    threading.Thread(target=ask).start()
    limit = time.monotonic() + 10
    while not client.metric("keras_moe_generated_tokens_total"):
        assert time.monotonic() < limit
    start_of_end = time.monotonic()
    client.stop()
    while True:
        try:
            client.request("GET", "/healthz")
        except OSError:
            break
        assert time.monotonic() < start_of_end + 10


@pytest.mark.parametrize("name", ["max_queue", "request_seconds"])
def test_limits_are_positive(name):
    with pytest.raises(ValueError, match=f"Expected {name} to be positive"):
        Limits(**{name: 0})
    assert Limits(batch_timeout=0).batch_timeout == 0
