"""Rows that each go on from the end of their own prompt."""

from functools import partial

import keras
import numpy as np
import pytest
from keras import ops

from keras_moe.ops.recorder import Recorder
from tests.models.small_backbones import DECODERS
from tests.models.small_backbones import make_task
from tests.models.test_cached_decoder import CASES
from tests.models.test_cached_decoder import compiled
from tests.models.test_cached_decoder import without_gradients
from tests.models.test_generative_task import randomize

# They differ by more than the window of 3. The longer rows run past the end.
LENGTHS = np.array([1, 6, 4], "int32")
PADDED, MAX_LENGTH, STEPS = 6, 9, 8
# Sums of some ten float32 terms of size 10 in another order: 1e-5 each,
# through a few layers.
CLOSE = {"rtol": 1e-4, "atol": 1e-4}
KINDS = {name: CASES[name] for name in ("window", "latent", "encoder_decoder")}
EXHAUSTIVE = pytest.mark.exhaustive


def make(case):
    family, changes = KINDS.get(case, (case, {}))
    model = make_task(family, **changes)
    randomize(model.trainable_weights)
    rng = np.random.default_rng(4)
    token_ids = rng.integers(1, 48, (3, MAX_LENGTH)).astype("int32")
    context = {}
    if model.prompt_prefix:
        context = {
            "encoder_token_ids": rng.integers(1, 48, (3, 4)).astype("int32"),
            "encoder_padding_mask": np.tri(3, 4, 1).astype("int32"),
        }
    return model, token_ids, context


def logits_of_each_alone(model, token_ids, context):
    """Return logits (B, X, V) of whole sequences, one by one, unpadded."""
    prefix = model.prompt_prefix
    logits = []
    for row in range(len(token_ids)):
        inputs = {key: value[row : row + 1] for key, value in context.items()}
        inputs[f"{prefix}token_ids"] = token_ids[row : row + 1]
        inputs[f"{prefix}padding_mask"] = np.ones((1, MAX_LENGTH), "int32")
        logits.append(model.predict_on_batch(inputs)[0])
    return np.stack(logits)


def prompts_of(model, token_ids):
    """Return the prompts, padded by tokens that would not go unnoticed."""
    prefix = model.prompt_prefix
    mask = np.arange(PADDED) < LENGTHS[:, None]
    return {
        f"{prefix}token_ids": np.where(mask, token_ids[:, :PADDED], 47),
        f"{prefix}padding_mask": mask.astype("int32"),
    }


def check(logits, expected, count):
    """Compare the logits after `count` steps of the rows that are not full."""
    positions = LENGTHS + count - 1
    rows = np.flatnonzero(positions < MAX_LENGTH)
    np.testing.assert_allclose(
        ops.convert_to_numpy(logits)[rows],
        expected[rows, positions[rows]],
        **CLOSE,
    )
    return len(rows)


@pytest.mark.sweep(first=1)
@pytest.mark.parametrize(
    "case",
    # The attention of a family is one of those kinds.
    [*KINDS, *(pytest.param(name, marks=EXHAUSTIVE) for name in DECODERS)],
)
def test_rows_go_on_from_their_own_ends_as_each_alone(case):
    model, token_ids, context = make(case)
    expected = logits_of_each_alone(model, token_ids, context)
    decode = Recorder().recorded(compiled(model.decode), model.weights)
    with without_gradients():
        step = compiled(
            partial(model.prefill, max_length=MAX_LENGTH, per_row=True)
        )(**prompts_of(model, token_ids), **context)
        compared = check(step.logits, expected, 0)
        for count in range(STEPS):
            index = LENGTHS + count
            new = token_ids[range(3), np.minimum(index, MAX_LENGTH - 1)]
            step = decode(
                ops.convert_to_tensor(new[:, None]),
                step.cache,
                ops.convert_to_tensor(index),
            )
            compared += check(step.logits, expected, count + 1)
    assert compared == (MAX_LENGTH - LENGTHS + 1).sum()


@pytest.mark.sweep(first=1)
@pytest.mark.parametrize("case", KINDS)
def test_a_graph_decodes_batches_and_lengths_of_any_size(case, backend):
    if backend != "tensorflow":
        pytest.skip("only TensorFlow's graphs have open sizes")
    import tensorflow as tf

    model, token_ids, context = make(case)
    expected = logits_of_each_alone(model, token_ids, context)
    inputs = {**prompts_of(model, token_ids), **context}
    open_inputs = {key: tf.TensorSpec((None, None), tf.int32) for key in inputs}
    number = tf.TensorSpec((), tf.int32)

    @tf.function(
        input_signature=[
            open_inputs,
            tf.TensorSpec((None, None), tf.int32),
            tf.TensorSpec((None,), tf.int32),
            number,
            number,
        ]
    )
    def run(inputs, token_ids, lengths, max_length, steps):
        step = model.prefill(**inputs, max_length=max_length, per_row=True)

        def take_step(count, logits, cache):
            index = lengths + count
            new = tf.gather(
                token_ids,
                tf.minimum(index, max_length - 1)[:, None],
                axis=1,
                batch_dims=1,
            )
            step = model.decode(new, cache, index)
            return count + 1, step.logits, step.cache

        return keras.ops.while_loop(
            lambda count, *_: count < steps,
            take_step,
            (tf.constant(0), step.logits, step.cache),
        )[1]

    for count in (0, 2, 8):
        logits = run(inputs, token_ids, LENGTHS, MAX_LENGTH, count)
        check(logits, expected, count)
