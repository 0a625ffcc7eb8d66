"""TensorFlow Serving's REST interface, over a real connection."""

import base64
import concurrent.futures
import json
import re

import numpy as np
import pytest

pytestmark = pytest.mark.once


def test_inputs_by_columns_give_outputs_by_columns(client, texts):
    # One output has no name: it is the answer.
    inputs = texts([3, 5], [7])
    answer = client.predict("score", inputs)
    assert answer == [[-3.0, -8.0], [-7.0, 0.0]]


def test_inputs_by_rows_give_predictions_by_rows(client):
    status, answer = client.post(
        "predict",
        {
            "signature_name": "generate",
            "instances": [
                {"token_ids": [1, 2], "padding_mask": [1, 1]} | options
                for options in ({"max_new_tokens": 1}, {"max_new_tokens": 2})
            ],
        },
    )
    assert status == 200
    # 1 + 2 + 3 * 2 = 9, then 12 + 3 * 3 = 21.
    assert answer["predictions"] == [
        {"token_ids": [1, 2, 9, 0], "padding_mask": [1, 1, 1, 0], "lengths": 3},
        {
            "token_ids": [1, 2, 9, 21],
            "padding_mask": [1, 1, 1, 1],
            "lengths": 4,
        },
    ]


def test_the_default_signature_needs_no_name(client):
    status, answer = client.post(
        "predict", {"instances": [{"token_ids": [2], "padding_mask": [1]}]}
    )
    assert status == 200
    assert np.array(answer["predictions"]).shape == (1, 1, 256)
    assert np.argmax(answer["predictions"]) == 2


def test_options_that_are_left_out_take_the_defaults(client, texts, continued):
    answer = client.predict("generate", texts([4, 5, 6]))
    assert answer["token_ids"] == [continued([4, 5, 6], 64)]


@pytest.mark.parametrize("rows", [1, 3])
def test_an_option_of_one_row_is_that_of_every_row(
    client, texts, continued, rows
):
    answer = client.predict(
        "generate",
        {
            **texts(*[[4, 5, 6]] * rows),
            "max_new_tokens": [2],
            "temperature": [0.5],
            "seed": [9],
        },
    )
    assert answer["token_ids"] == [continued([4, 5, 6], 2, seed=9)] * rows


def test_text_goes_in_and_comes_out(client, continued):
    answer = client.predict(
        "generate_text", {"prompt": ["ab"], "max_new_tokens": [3]}
    )
    expected = continued(b"ab", 3)
    assert answer["token_ids"] == [expected]
    assert answer["lengths"] == [5]
    assert answer["text"] == [bytes(expected[2:]).decode("utf-8", "replace")]


def test_a_single_input_needs_no_name_and_may_be_base64(client):
    encoded = {"b64": base64.b64encode(b"ab").decode()}
    rows = []
    for prompt in ("ab", encoded):
        status, answer = client.post(
            "predict",
            {"signature_name": "generate_text", "instances": [prompt]},
        )
        assert status == 200, answer
        rows.append(answer["predictions"])
    assert rows[0] == rows[1]


def test_status_metadata_and_description(client):
    name = client.server.name
    status, answer = client.get(f"/v1/models/{name}")
    assert (status, answer) == (
        200,
        {
            "model_version_status": [
                {
                    "version": "1",
                    "state": "AVAILABLE",
                    "status": {"error_code": "OK", "error_message": ""},
                }
            ]
        },
    )
    assert client.get(f"/v1/models/{name}/versions/1") == (status, answer)
    status, answer = client.get(f"/v1/models/{name}/metadata")
    assert status == 200
    assert answer["model_spec"]["version"] == "1"
    signatures = answer["metadata"]["signature_def"]["signature_def"]
    assert signatures["score"]["inputs"]["token_ids"]["dtype"] == "DT_INT32"
    assert signatures["score"]["method_name"] == "tensorflow/serving/predict"
    status, answer = client.get(f"/v1/models/{name}:describe")
    assert (status, answer["tokenizer"]) == (200, {"kind": "bytes"})
    assert client.get("/v1/models") == (200, {"models": [name]})


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/v1/models/other", 404),
        ("GET", "/v1/models/other/metadata", 404),
        ("GET", "/v1/models/toy/versions/7", 404),
        ("POST", "/v1/models/other:predict", 404),
        ("POST", "/v1/models/toy/versions/7:predict", 404),
        ("POST", "/v1/models/toy/versions/" + "9" * 30 + ":predict", 400),
        ("GET", "/v1/models/toy:predict", 400),
        ("POST", "/v1/models/toy", 400),
        ("POST", "/v1/models/toy:dance", 400),
        ("DELETE", "/v1/models/toy", 400),
        ("GET", "/v1/%ff%2f", 400),
        ("GET", "/nowhere", 404),
    ],
)
def test_a_wrong_address_has_a_status_and_a_reason(client, method, path, code):
    status, _, body = client.request(method, path, b"{}")
    assert status == code
    assert json.loads(body)["error"]


def request(**changes):
    inputs = {"token_ids": [[1, 2]], "padding_mask": [[1, 1]], **changes}
    body = {"signature_name": "generate", "inputs": inputs}
    return json.dumps(body).encode()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "JSON"),
        (b"{", "JSON"),
        (b"[]", "JSON object"),
        (b'"\xff"', "UTF-8"),
        (b"[" * 100_000, "JSON"),
        (b'{"instances": 1' + b"0" * 5000 + b"}", "JSON"),
        (b"{}", "either instances or inputs"),
        (b'{"instances": [1], "inputs": [1]}', "either instances or inputs"),
        (b'{"instances": []}', "at least one row"),
        (b'{"instances": {"a": 1}}', "list of at least one row"),
        (b'{"instances": [{"token_ids": [1]}, 3]}', "a mixture"),
        (b'{"instances": [{"token_ids": [1]}, {"x": 1}]}', "every instance"),
        (b'{"instances": [[1, 2]]}', "value without a name"),
        (b'{"inputs": {}}', "Missing but required: .*padding_mask"),
        (b'{"signature_name": 7, "inputs": {}}', "signature_name"),
        (b'{"signature_name": "x", "inputs": {}}', 'key "x" not found'),
        (request(other=[1]), r"Sent extra: \['other'\]"),
        (request(token_ids=[1, 2]), r"shape \(\?, \?\). Received: shape \(2\)"),
        (request(token_ids=[[[1, 2]]]), r"Received: shape \(1, 1, 2\)"),
        (request(token_ids=[]), "shape"),
        (request(token_ids=[[]]), "at least one row"),
        (request(token_ids=[[1, 2], [3]]), "equally long"),
        (request(token_ids=[[1, 2], [3, 4]]), "equally many rows"),
        (request(token_ids=[[1, 256]]), "vocabulary, 0 to 255. Received: 256"),
        (request(token_ids=[[1, -1]]), "Received: -1"),
        (request(token_ids=[[1, 2**40]]), "range of int32. Received: 1099"),
        (request(token_ids=[[1, 2**70]]), "numbers, strings or lists"),
        (request(token_ids=[[1, 2.5]]), "dtype int32. Received: float64"),
        (request(token_ids=[[True, False]]), "dtype int32. Received: bool"),
        (request(token_ids=[["a", "b"]]), "dtype int32. Received: strings"),
        (request(token_ids=[[1, None]]), "numbers, strings or lists"),
        (request(token_ids="\ud800"), "lone surrogate"),
        (request(token_ids={"b64": "?"}), "base64"),
        (request(padding_mask=[[1]]), "of the shape of 'token_ids'"),
        (request(padding_mask=[[1, 2]]), "ones for tokens"),
        (request(padding_mask=[[0, 1]]), "padded on the right"),
        (request(padding_mask=[[0, 0]]), "at least one token"),
        (request(max_new_tokens=[-1]), "'max_new_tokens' in the server's"),
        (request(max_new_tokens=[1025]), "0 to 1024. Received: 1025"),
        (request(max_new_tokens=5), r"shape \(\?\). Received: shape \(\)"),
        (request(max_new_tokens=[1, 2]), "1 rows in every input"),
        (request(top_k=[-1]), "'top_k' in its range, 0 or more"),
        (request(top_p=[0]), "top_p above 0"),
        (request(top_p=[1.5]), "top_p above 0"),
        (request(temperature=[-0.5]), "'temperature' in its range"),
        (request(temperature=[float("nan")]), "finite numbers"),
        (request(temperature=[float("inf")]), "finite numbers"),
        (request(temperature=[1e39]), "too large for float32"),
        (request(seed=[2**31]), "range of int32"),
        (request(stop_token_ids=[[-2]]), "'stop_token_ids'"),
        (request(stop_token_ids=[[300]]), "'stop_token_ids'"),
        (
            request(token_ids=[[1] * 4100], padding_mask=[[1] * 4100]),
            "at most 4096 tokens",
        ),
    ],
)
def test_a_wrong_request_is_refused_with_a_reason(client, body, reason):
    status, headers, answer = client.request(
        "POST", f"/v1/models/{client.server.name}:predict", body
    )
    assert status == 400
    assert headers["content-type"] == "application/json"
    error = json.loads(answer)["error"]
    assert len(error) < 1000
    assert re.search(reason, error), error


def test_a_large_body_is_refused_before_it_is_read(start):
    client = start(limits={"max_body_bytes": 1000})
    path = f"/v1/models/{client.server.name}:predict"
    status, headers, answer = client.request("POST", path, b" " * 1001)
    assert status == 413
    assert headers["connection"] == "close"
    assert "at most 1000 bytes" in json.loads(answer)["error"]
    # Without a length in front: counted as it comes.
    status, _, _ = client.request("POST", path, iter([b" " * 600] * 2))
    assert status == 413
    assert client.get(f"/v1/models/{client.server.name}")[0] == 200


def test_answers_are_the_same_in_any_batch(client, prompts, texts, continued):
    # 1e-5: one division of float32 sums of at most 40 ones.
    requests = prompts(40)
    alone = [client.predict("embed", texts(each)) for each in requests]
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        made = [
            *pool.map(lambda x: client.predict("embed", texts(x)), requests)
        ]
        new = [len(each) % 7 for each in requests]
        answers = pool.map(
            lambda x, n: client.predict(
                "generate", {**texts(x), "max_new_tokens": [n]}
            ),
            requests,
            new,
        )
        for prompt, count, answer in zip(requests, new, answers, strict=True):
            assert answer["token_ids"] == [continued(prompt, count)]
            assert answer["lengths"] == [len(prompt) + count]
    np.testing.assert_allclose(alone, made, atol=1e-5)
    rows = client.metric("keras_moe_batch_rows_sum")
    assert client.metric("keras_moe_batch_rows_count") < rows
