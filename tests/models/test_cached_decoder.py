"""A loop of one's own over `prefill` and `decode`, compiled and not."""

import contextlib
from functools import partial

import keras
import numpy as np
import pytest
from keras import ops

from keras_moe.models import NextToken
from keras_moe.routing import Capacity
from tests.models.small_backbones import make_task
from tests.models.test_generative_task import randomize

PADDED, MAX_LENGTH = 6, 9
LENGTHS = np.array([4, 6, 5])
# 4 = E: every expert has a slot for every token.
DROPLESS = {"capacity": Capacity(1.25, 4.0), "jitter_noise": 0.0}
CASES = {
    # Less than the shortest prompt: the cache rolls from the start.
    "window": ("mixtral", {"num_layers": 1, "sliding_window": 3}),
    "grouped": ("mixtral", {"num_layers": 1}),
    "latent": ("deepseek_v2", {}),
    "encoder_decoder": ("switch", {"router": DROPLESS}),
}


def compiled(function):
    """Compile as the backend does; PyTorch has the recorder instead."""
    if keras.config.backend() == "jax":
        import jax

        return jax.jit(function)
    if keras.config.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(function)
    return function


def without_gradients():
    if keras.config.backend() == "torch":
        import torch

        return torch.no_grad()
    return contextlib.nullcontext()


def make_model(case):
    family, changes = CASES[case]
    model = make_task(family, **changes)
    randomize(model.trainable_weights)
    model.compile(sampler="greedy")
    return model


def make_inputs(model, length):
    """Prompts of 4, 6 and 5 tokens, and what an encoder reads."""
    rng = np.random.default_rng(3)
    mask = np.arange(PADDED) < LENGTHS[:, None]
    token_ids = np.where(mask, rng.integers(1, 48, mask.shape), 0)
    room = ((0, 0), (0, length - PADDED))
    prefix = model.prompt_prefix
    inputs = {
        f"{prefix}token_ids": np.pad(token_ids, room).astype("int32"),
        f"{prefix}padding_mask": np.pad(mask, room).astype("int32"),
    }
    if prefix:
        inputs["encoder_token_ids"] = rng.integers(1, 48, (3, 4), "int32")
        inputs["encoder_padding_mask"] = np.tri(3, 4, 1, "int32")
    return inputs


def run_loop(prefill, decode, inputs, prefix):
    """Extend prompts greedily; return tokens and every step's logits."""
    token_ids, in_prompt = (
        np.pad(inputs[f"{prefix}{name}"], ((0, 0), (0, MAX_LENGTH - PADDED)))
        for name in ("token_ids", "padding_mask")
    )
    step = prefill(**inputs)
    all_logits = []
    for index in range(LENGTHS.min(), MAX_LENGTH):
        all_logits.append(ops.convert_to_numpy(step.logits))
        token_ids[:, index] = np.where(
            in_prompt[:, index],
            token_ids[:, index],
            all_logits[-1].argmax(axis=-1),
        )
        step = decode(
            ops.convert_to_tensor(token_ids[:, index : index + 1]),
            step.cache,
            ops.convert_to_tensor(index, dtype="int32"),
        )
        assert isinstance(step, NextToken)
    return token_ids, np.stack(all_logits)


def run_without_cache(model, inputs):
    """Extend prompts greedily by the whole model's logits."""
    prefix = model.prompt_prefix
    token_ids, in_prompt = (
        inputs[f"{prefix}{name}"].copy()
        for name in ("token_ids", "padding_mask")
    )
    all_logits = []
    for index in range(LENGTHS.min(), MAX_LENGTH):
        seen = np.broadcast_to(np.arange(MAX_LENGTH) < index, token_ids.shape)
        logits = model.predict_on_batch(
            {
                **inputs,
                f"{prefix}token_ids": token_ids,
                f"{prefix}padding_mask": seen.astype("int32"),
            }
        )
        all_logits.append(logits[:, index - 1])
        token_ids[:, index] = np.where(
            in_prompt[:, index],
            token_ids[:, index],
            all_logits[-1].argmax(axis=-1),
        )
    last = [logits[row, length - 1] for row, length in enumerate(LENGTHS)]
    return token_ids, np.stack(all_logits), np.stack(last)


@pytest.mark.sweep
@pytest.mark.parametrize("case", CASES)
def test_a_loop_of_ones_own_generates(case):
    model = make_model(case)
    inputs = make_inputs(model, PADDED)
    whole = make_inputs(model, MAX_LENGTH)
    prefix = model.prompt_prefix
    expected, logits, last = run_without_cache(model, whole)
    assert len(np.unique(expected)) > 8  # Not one token over and over.
    generated = model.generate(whole, stop_token_ids=None)
    np.testing.assert_array_equal(generated[f"{prefix}token_ids"], expected)
    # Sums of some ten float32 terms of size 10 in another order: 1e-5 each,
    # through a few layers.
    close = {"rtol": 1e-4, "atol": 1e-4}
    for wrap in (lambda function: function, compiled):
        with without_gradients():
            actual, steps = run_loop(
                wrap(partial(model.prefill, max_length=MAX_LENGTH)),
                wrap(model.decode),
                inputs,
                prefix,
            )
        np.testing.assert_array_equal(actual, expected)
        # The first logits are those of each row's last token.
        np.testing.assert_allclose(steps[0], last, **close)
        assert steps.dtype == "float32"
        for index, (ours, theirs) in enumerate(
            zip(steps[1:], logits[1:], strict=True), LENGTHS.min() + 1
        ):
            # Before a row's prompt ends nobody asks for its logits.
            rows = LENGTHS <= index
            np.testing.assert_allclose(ours[rows], theirs[rows], **close)


@pytest.fixture(scope="module")
def model():
    return make_model("window")


def test_a_cache_must_have_room_for_the_prompt(model):
    inputs = make_inputs(model, PADDED)
    with pytest.raises(ValueError, match="`max_length` of at least 6.*=5"):
        model.prefill(**inputs, max_length=5)


def test_tokens_are_decoded_one_by_one(model):
    with pytest.raises(ValueError, match=r"shape \(B, 1\).*shape \(3, 2\)"):
        model.decode(np.ones((3, 2), "int32"), (), 0)
    for index in (np.arange(2), np.ones((3, 1)), np.ones((1,))):
        with pytest.raises(ValueError, match="one number for all rows or one"):
            model.decode(np.ones((3, 1), "int32"), (), index)


@pytest.mark.sweep
def test_only_the_window_is_kept(model):
    inputs = make_inputs(model, PADDED)
    with without_gradients():
        ((keys, _),) = model.prefill(**inputs, max_length=MAX_LENGTH).cache
    assert tuple(keys.shape) == (3, 2, 3, 4)  # B, M, window, D


@pytest.mark.sweep
def test_without_masks_all_tokens_are_real(model):
    token_ids = make_inputs(model, PADDED)["token_ids"]
    with without_gradients():
        step = model.prefill(token_ids)
        same = model.prefill(token_ids, np.ones_like(token_ids))
    np.testing.assert_array_equal(
        ops.convert_to_numpy(step.logits), ops.convert_to_numpy(same.logits)
    )
