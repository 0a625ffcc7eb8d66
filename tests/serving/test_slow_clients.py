"""Clients that stop in the middle."""

import socket
import time

import pytest

pytestmark = pytest.mark.once


@pytest.fixture
def client(start):
    return start(limits={"read_seconds": 0.3})


def connect(client):
    return socket.create_connection(
        ("127.0.0.1", client.server.port), timeout=10
    )


def is_closed(raw):
    """Waits until the server has closed a connection."""
    while raw.recv(4096):
        pass
    return True


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\nHo"])
def test_a_header_that_does_not_come_closes_the_connection(client, sent):
    with connect(client) as raw:
        raw.sendall(sent)
        assert is_closed(raw)
    assert client.request("GET", "/healthz")[0] == 200


def test_so_does_one_after_a_good_request(client):
    good = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
    with connect(client) as raw:
        for _ in range(2):
            raw.sendall(good)
            answer = b""
            # Head and body may come one by one.
            while not answer.endswith(b"ok\n"):
                answer += raw.recv(4096)
            assert b"200 OK" in answer
        raw.sendall(good[:10])
        assert is_closed(raw)


def test_a_body_that_does_not_come_is_given_up(client):
    with connect(client) as raw:
        raw.sendall(
            b"POST /v1/models/toy:predict HTTP/1.1\r\nHost: a\r\n"
            b'Content-Length: 100\r\n\r\n{"in'
        )
        assert b"408" in raw.recv(4096)
        assert is_closed(raw)


def test_a_request_longer_than_that_is_not_slow(client):
    # The clock stops once the header is there.
    events = client.stream(token_ids=[1], max_new_tokens=900)
    assert events[-1][0] == "done"


def test_an_answer_that_nobody_takes_is_given_up(start):
    # One connection more is one too many while that one is open.
    limits = {"read_seconds": 0.3, "max_tokens": 2**16, "max_connections": 2}
    client = start(limits=limits)
    # 6 MB of zeros and ones: more than the sockets' buffers hold.
    ones = ",".join(["1"] * 6000)
    names = ("token_ids", "padding_mask")
    inputs = ",".join(f'"{name}": [[{ones}]]' for name in names)
    body = f'{{"inputs": {{{inputs}}}}}'
    with connect(client) as raw:
        raw.sendall(
            f"POST /v1/models/toy:predict HTTP/1.1\r\nHost: a\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        assert raw.recv(15) == b"HTTP/1.1 200 OK"
        assert client.request("GET", "/healthz")[0] == 503
        limit = time.monotonic() + 60
        while client.request("GET", "/healthz")[0] != 200:
            assert time.monotonic() < limit
            time.sleep(0.05)
        assert client.metric("keras_moe_requests_total") == 1


def test_too_many_connections_are_refused(start):
    client = start(limits={"max_connections": 3})
    idle = [connect(client) for _ in range(3)]
    assert client.request("GET", "/healthz")[0] == 503
    for raw in idle:
        raw.close()
    limit = time.monotonic() + 10
    while client.request("GET", "/healthz")[0] != 200:
        assert time.monotonic() < limit


@pytest.mark.parametrize(
    "sent",
    [
        b"\x00\xff\x00\xff\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/models/toy:predict HTTP/1.1\r\nHost: [\r\n"
        b"Content-Length: 99999999999999999999999\r\n\r\n",
        b"GET /v1/models/toy HTTP/1.1\r\nHost: [\r\n\r\n",
        b"GET /../../etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"a" * 200_000,
    ],
)
def test_broken_http_does_no_harm(client, sent):
    with connect(client) as raw:
        try:
            raw.sendall(sent)
            assert b"root:" not in raw.recv(4096)
        except (ConnectionResetError, BrokenPipeError):
            pass
    assert client.request("GET", "/healthz")[0] == 200
