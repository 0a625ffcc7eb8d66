"""The benchmark of the server runs, in a small setting, and finds errors."""

import importlib
from argparse import Namespace

import pytest
import tensorflow as tf

pytestmark = [pytest.mark.once, pytest.mark.exhaustive]


class Counting(tf.Module):
    """Repeats the prompt's sum."""

    @tf.function(
        input_signature=[
            tf.TensorSpec((None, None), "int32", "token_ids"),
            tf.TensorSpec((None, None), "int32", "padding_mask"),
            tf.TensorSpec((None,), "int32", "max_new_tokens"),
            tf.TensorSpec((None,), "float32", "temperature"),
            tf.TensorSpec((None,), "int32", "seed"),
        ]
    )
    def generate(
        self, token_ids, padding_mask, max_new_tokens, temperature, seed
    ):
        total = tf.reduce_sum(token_ids * padding_mask, 1) + seed
        total += tf.cast(temperature, "int32")
        tokens = tf.pad(token_ids, [[0, 0], [0, tf.reduce_max(max_new_tokens)]])
        lengths = tf.reduce_sum(padding_mask, 1) + max_new_tokens
        real = tf.sequence_mask(lengths, tf.shape(tokens)[1], "int32")
        old = tf.sequence_mask(
            lengths - max_new_tokens, tf.shape(tokens)[1], "int32"
        )
        tokens += (real - old) * total[:, None]
        return {"token_ids": tokens, "padding_mask": real, "lengths": lengths}


@pytest.fixture
def settings(tmp_path):
    model = Counting()
    tf.saved_model.save(
        model, str(tmp_path / "1"), {"generate": model.generate}
    )
    return Namespace(
        folder=tmp_path,
        clients=4,
        seconds=0.5,
        rounds=2,
        requests=None,
        prompts=5,
        shortest=1,
        longest=30,
        max_new_tokens=3,
    )


def test_both_servers_answer_rightly(settings):
    benchmark = importlib.import_module("serving")
    table = benchmark.measure(settings)
    assert "| batches | " in table and "| one | " in table
    assert "Batching answers" in table
    settings.requests = 20
    assert "| batches | 20 |" in benchmark.measure(settings)


def test_a_wrong_answer_is_found(settings, monkeypatch):
    benchmark = importlib.import_module("serving")
    make_work = benchmark.make_work

    def make_wrong(settings):
        work = make_work(settings)
        work[0][1]["lengths"][0] += 1
        return work[:1]

    monkeypatch.setattr(benchmark, "make_work", make_wrong)
    settings.requests = 2
    with pytest.raises(RuntimeError, match="2 answers were wrong"):
        benchmark.measure(settings)
