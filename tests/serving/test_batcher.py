"""The queue in front of the model."""

import threading
import time

import numpy as np
import pytest
import tensorflow as tf

from keras_moe.serving.batcher import Batcher
from keras_moe.serving.errors import ServingError
from keras_moe.serving.limits import Limits
from keras_moe.serving.metrics import Metrics
from keras_moe.serving.padding import Request
from keras_moe.serving.signature import Signature
from keras_moe.serving.signature import TensorInfo

pytestmark = pytest.mark.once

INFO = TensorInfo(tf.int32, (None, None))
DOUBLE = Signature(
    "double",
    {"token_ids": INFO, "padding_mask": INFO},
    {"doubled": INFO},
    {},
    None,
)


class Model:
    """Doubles numbers, once it may; notes the calls; dislikes 13."""

    def __init__(self):
        self.calls = []
        self.gate = threading.Event()
        self.gate.set()

    def run(self, signature, arrays):
        assert self.gate.wait(10)
        token_ids = arrays["token_ids"]
        self.calls.append(token_ids.shape)
        if (token_ids == 13).any():
            raise ValueError("unlucky")
        return {"doubled": 2 * token_ids}


def make_request(*rows):
    token_ids = np.array(rows, "int32")
    arrays = {"token_ids": token_ids, "padding_mask": np.ones_like(token_ids)}
    return Request(DOUBLE, arrays, *token_ids.shape)


@pytest.fixture
def make_batcher():
    made = []

    def make_batcher(**limits):
        made.append(Batcher(Limits(**limits), Metrics()))
        return made[-1]

    yield make_batcher
    for each in made:
        each.close()


def results(futures):
    return [future.result(10)["doubled"].tolist() for future in futures]


def test_what_waits_together_runs_together(make_batcher):
    batcher, model = make_batcher(batch_timeout=0.2), Model()
    futures = [
        batcher.submit(model, make_request(*rows))
        for rows in ([[1, 2]], [[3]], [[4, 5, 6], [7, 8, 9]])
    ]
    assert results(futures) == [[[2, 4]], [[6]], [[8, 10, 12], [14, 16, 18]]]
    assert model.calls == [(4, 3)]


def test_a_full_batch_does_not_wait(make_batcher):
    batcher, model = make_batcher(batch_timeout=60, max_batch_size=2), Model()
    futures = [batcher.submit(model, make_request([n])) for n in range(4)]
    assert results(futures) == [[[0]], [[2]], [[4]], [[6]]]
    assert model.calls == [(2, 1), (2, 1)]


def test_lengths_far_apart_do_not_share_a_batch(make_batcher):
    batcher, model = make_batcher(batch_timeout=0.1), Model()
    lengths = (2, 100, 16, 17, 120)
    futures = [
        batcher.submit(model, make_request([1] * length)) for length in lengths
    ]
    results(futures)
    assert sorted(model.calls) == [(1, 17), (2, 16), (2, 120)]


def test_padding_counts_as_tokens_of_a_batch(make_batcher):
    batcher, model = (
        make_batcher(batch_timeout=0.1, max_batch_tokens=20),
        Model(),
    )
    futures = [
        batcher.submit(model, make_request([1] * length))
        for length in (10, 10, 3)
    ]
    results(futures)
    assert model.calls == [(2, 10), (1, 3)]


def test_more_rows_than_a_batch_run_alone(make_batcher):
    batcher, model = make_batcher(max_batch_size=1), Model()
    futures = [batcher.submit(model, make_request([1], [2]))]
    futures += [batcher.submit(model, make_request([3]))]
    assert results(futures) == [[[2], [4]], [[6]]]
    assert model.calls == [(2, 1), (1, 1)]


def test_one_that_fails_does_not_take_others_with_it(make_batcher):
    batcher, model = make_batcher(batch_timeout=0.1), Model()
    bad = batcher.submit(model, make_request([13]))
    good = batcher.submit(model, make_request([1]))
    assert results([good]) == [[[2]]]
    with pytest.raises(ServingError, match="model failed") as error:
        bad.result(10)
    assert error.value.code == "INTERNAL"
    # What the model says about itself is not for clients.
    assert "unlucky" not in str(error.value)


def test_a_full_queue_refuses(make_batcher):
    batcher, model = make_batcher(batch_timeout=0, max_queue=2), Model()
    model.gate.clear()
    running = batcher.submit(model, make_request([1]))
    limit = time.monotonic() + 10
    while not running.running():
        assert time.monotonic() < limit
    waiting = [batcher.submit(model, make_request([n])) for n in (2, 3)]
    with pytest.raises(ServingError, match="waiting already") as error:
        batcher.submit(model, make_request([4]))
    assert (error.value.code, error.value.http_code) == (
        "RESOURCE_EXHAUSTED",
        503,
    )
    # Who gave up does not run.
    assert waiting[0].cancel()
    model.gate.set()
    assert results([running, waiting[1]]) == [[[2]], [[6]]]
    assert model.calls == [(1, 1), (1, 1)]


def test_the_oldest_goes_first(make_batcher):
    batcher, model = make_batcher(batch_timeout=0), Model()
    model.gate.clear()
    first = batcher.submit(model, make_request([1]))
    limit = time.monotonic() + 10
    while not first.running():
        assert time.monotonic() < limit
    futures = [
        batcher.submit(model, make_request([1] * length))
        for length in (50, 3, 200, 40)
    ]
    model.gate.set()
    results(futures)
    assert model.calls == [(1, 1), (2, 50), (1, 3), (1, 200)]


def test_closing_answers_what_waits(make_batcher):
    batcher, model = make_batcher(batch_timeout=60), Model()
    future = batcher.submit(model, make_request([1]))
    batcher.close()
    assert results([future]) == [[[2]]]
    with pytest.raises(ServingError, match="stopping"):
        batcher.submit(model, make_request([1]))
