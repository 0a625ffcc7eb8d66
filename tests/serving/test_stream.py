"""Text that comes piece by piece."""

import concurrent.futures
import json
import socket
import time

import pytest

from keras_moe.serving.tokenizer import ByteTokenizer

pytestmark = pytest.mark.once


def tokens_of(events):
    return sum((data["token_ids"] for name, data in events[:-1]), [])


def test_pieces_are_what_one_call_gives(client, continued):
    events = client.stream(token_ids=[5, 6], max_new_tokens=20)
    assert [name for name, _ in events] == ["token"] * 3 + ["done"]
    expected = continued([5, 6], 20)[2:]
    assert tokens_of(events) == expected
    # Eight tokens each, and the rest.
    assert [data["position"] for _, data in events[:-1]] == [2, 10, 18]
    assert events[-1][1] == {
        "token_ids": expected,
        "text": ByteTokenizer().decode(expected),
        "lengths": 22,
        "finish_reason": "length",
    }


def test_a_prompt_of_text_is_its_bytes(client, continued):
    events = client.stream(
        prompt="Où", max_new_tokens=9, temperature=1, seed=77
    )
    assert tokens_of(events) == continued("Où".encode(), 9, seed=77)[3:]
    whole = "".join(data["text"] for _, data in events[:-1])
    assert whole == events[-1][1]["text"]


def test_each_token_has_its_part_of_the_text(client):
    # The toy's tokens are bytes, and these make no whole characters.
    events = client.stream(prompt="def ", max_new_tokens=10)
    for _, data in events[:-1]:
        assert "".join(data["texts"]) == data["text"]
    first, second = (data["texts"] for _, data in events[:-1])
    # By hand: bytes 91, 185, 117, 237, 221, 189, 125, 253, 253, 253. A byte
    # that starts no character comes with the next whole one; the last come
    # at the end, without a token.
    broken = "\N{REPLACEMENT CHARACTER}"
    cut = bytes([221, 189]).decode()
    assert first == ["[", "", f"{broken}u", "", "", f"{broken}{cut}", "}", ""]
    assert second == ["", "", 3 * broken]


def test_a_stop_token_ends_the_stream_and_is_told(client, continued):
    stop = continued([5, 6], 11)[-1]
    events = client.stream(
        token_ids=[5, 6], max_new_tokens=30, stop_token_ids=[stop, 3]
    )
    expected = continued([5, 6], 30, stops=(stop, 3))[2:]
    assert tokens_of(events) == expected
    assert events[-1][1]["finish_reason"] == "stop"


def test_the_routing_of_each_token_comes_with_it(client):
    events = client.stream(token_ids=[5, 6], max_new_tokens=10, routing=True)
    for _, data in events[:-1]:
        # The toy's layer l sends token t to experts (t + l) and (t + l + 1).
        assert data["routed_experts"] == [
            [[(t + layer + k) % 4 for k in (0, 1)] for layer in (0, 1)]
            for t in data["token_ids"]
        ]
    load = events[-1][1]["expert_load"]
    assert [len(layer) for layer in load] == [4, 4]
    assert [sum(layer) for layer in load] == pytest.approx([1, 1])


def test_no_new_token_is_a_stream_too(client):
    ((name, data),) = client.stream(token_ids=[5], max_new_tokens=0)
    assert name == "done"
    assert (data["token_ids"], data["text"], data["lengths"]) == ([], "", 1)


def test_the_default_number_of_tokens_is_that_of_the_signature(client):
    assert client.stream(token_ids=[5])[-1][1]["lengths"] == 65


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({}, "either prompt or token_ids"),
        ({"prompt": "a", "token_ids": [1]}, "either prompt or token_ids"),
        ({"prompt": ""}, "at least one token"),
        ({"prompt": 3}, "prompt to be a string"),
        ({"prompt": "\ud800"}, "lone surrogate"),
        ({"token_ids": [[1]]}, "list of integers"),
        ({"token_ids": [True]}, "list of integers"),
        ({"token_ids": [256]}, "the vocabulary"),
        ({"token_ids": [2**80]}, "numbers, strings or lists"),
        ({"prompt": "a", "max_new_tokens": 2000}, "0 to 1024"),
        ({"prompt": "a" * 4090, "max_new_tokens": 9}, "at most 4096 tokens"),
        ({"prompt": "a", "max_new_tokens": [1]}, "one number"),
        ({"prompt": "a", "max_new_tokens": 1.5}, "dtype int32"),
        ({"prompt": "a", "temperature": "hot"}, "dtype float32"),
        ({"prompt": "a", "stop_token_ids": 3}, "shape"),
        ({"prompt": "a", "routing": 1}, "true or false"),
        ({"prompt": "a", "colour": "red"}, "colour"),
    ],
)
def test_a_wrong_request_is_refused_before_the_stream(client, body, reason):
    status, answer = client.post("stream", body)
    assert status == 400
    assert reason in answer["error"]


def test_streams_share_the_calls_of_the_model(start, prompts, continued):
    client = start(limits={"batch_timeout": 0.05})

    def generate(prompt):
        return client.stream(token_ids=prompt, max_new_tokens=24)

    requests = prompts(8, longest=10)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for prompt, events in zip(
            requests, pool.map(generate, requests), strict=True
        ):
            assert prompt + tokens_of(events) == continued(prompt, 24)
    # 8 streams of 3 pieces each.
    assert client.metric("keras_moe_batch_rows_sum") == 24
    assert client.metric("keras_moe_batch_rows_count") < 24
    assert client.metric("keras_moe_generated_tokens_total") == 8 * 24


def test_a_client_that_goes_away_ends_its_stream(start):
    client = start(limits={"stream_chunk": 1})
    body = json.dumps({"token_ids": [1], "max_new_tokens": 1000})
    with socket.create_connection(("127.0.0.1", client.server.port)) as raw:
        raw.sendall(
            f"POST /v1/models/toy:stream HTTP/1.1\r\nHost: a\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        assert b"200 OK" in raw.recv(4096)
    limit = time.monotonic() + 10
    while client.metric("keras_moe_requests_total") < 1:
        assert time.monotonic() < limit
        time.sleep(0.05)
    assert client.metric("keras_moe_generated_tokens_total") < 1000
    _, _, answer = client.request("GET", "/metrics")
    assert 'code="CANCELLED",protocol="stream"' in answer.decode()


def test_a_stream_that_takes_too_long_ends_with_an_error(start):
    # A thousand pieces, each of which waits 10 ms for others: 10 seconds.
    limits = {"stream_chunk": 1, "batch_timeout": 0.01, "request_seconds": 1.5}
    client = start(limits=limits)
    events = client.stream(token_ids=[1], max_new_tokens=1000)
    assert events[-1][0] == "error"
    assert "too long" in events[-1][1]["error"]
    assert client.stream(token_ids=[1], max_new_tokens=2)[-1][0] == "done"
