"""What routers want besides the inputs, on its way through the models."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_moe.callbacks.sparse_layers import find_sparse_layers
from keras_moe.layers import HashRouter
from tests.models.small_backbones import make_task

# XLA takes long on TensorFlow, whose graphs are the same without.
COMPILES = False if keras.backend.backend() == "tensorflow" else "auto"
VOCABULARY, EXPERTS = 48, 4
TOKEN_IDS = np.array([[5, 7, 9, 7, 11], [7, 5, 5, 9, 3]], "int32")
MASK = np.array([[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]], "int32")
INPUTS = {"token_ids": TOKEN_IDS, "padding_mask": MASK}


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(3)
    router = HashRouter(EXPERTS, 2, vocabulary_size=VOCABULARY)
    task = make_task("mixtral", num_layers=1, router=router)
    task.compile("sgd", jit_compile=COMPILES, sampler="greedy")
    return task


def tables(model):
    return [each.router.table for each in find_sparse_layers(model).values()]


def change_experts_of_9(table):
    values = ops.convert_to_numpy(table.value).copy()
    values[9] = (values[9] + 1) % EXPERTS
    table.assign(values)


def test_a_decoder_routes_by_the_ids_of_its_inputs(model):
    before = model.predict_on_batch(INPUTS)
    change_experts_of_9(*tables(model))
    difference = np.abs(model.predict_on_batch(INPUTS) - before).max(axis=-1)
    assert np.all((difference > 1e-6) == (TOKEN_IDS == 9))


def test_a_decoder_that_hashes_generates_what_it_predicts(model):
    prompts = {**INPUTS, "padding_mask": np.tile(np.arange(5) < 3, (2, 1))}
    generated = model.generate(prompts, stop_token_ids=None)["token_ids"]
    full = {"token_ids": generated, "padding_mask": np.ones_like(MASK)}
    best = np.argmax(model.predict_on_batch(full), axis=-1)
    np.testing.assert_array_equal(generated[:, 3:], best[:, 2:-1])


@pytest.mark.sweep
def test_a_decoder_that_hashes_trains_and_is_saved(model, tmp_path):
    kernels = [
        each.experts.down.kernel for each in find_sparse_layers(model).values()
    ]
    before = [ops.convert_to_numpy(each.value).copy() for each in kernels]
    model.compile(
        "sgd",
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=COMPILES,
        sampler="greedy",
    )
    assert np.all(np.isfinite(model.train_on_batch(INPUTS, TOKEN_IDS)))
    for old, new in zip(before, kernels, strict=True):
        assert np.abs(ops.convert_to_numpy(new.value) - old).max() > 0
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    np.testing.assert_allclose(
        loaded.predict_on_batch(INPUTS),
        model.predict_on_batch(INPUTS),
        rtol=1e-5,
        atol=1e-6,
    )


@pytest.mark.sweep
def test_both_stacks_of_a_switch_route_by_their_own_ids():
    keras.utils.set_random_seed(3)
    router = HashRouter(EXPERTS, vocabulary_size=VOCABULARY)
    model = make_task(
        "switch", num_layers=1, expert_layer_stride=1, router=router
    )
    model.compile(jit_compile=COMPILES, sampler="greedy")
    inputs = {
        "encoder_token_ids": TOKEN_IDS,
        "encoder_padding_mask": MASK,
        "decoder_token_ids": np.array([[0, 9, 4], [0, 4, 9]], "int32"),
        "decoder_padding_mask": np.ones((2, 3), "int32"),
    }
    before = model.predict_on_batch(inputs)
    encoder, decoder = tables(model)
    change_experts_of_9(decoder)
    difference = np.abs(model.predict_on_batch(inputs) - before).max(axis=-1)
    assert np.all((difference > 1e-6) == (inputs["decoder_token_ids"] == 9))
    encoder.assign((encoder.value + 1) % EXPERTS)
    difference = np.abs(model.predict_on_batch(inputs) - before).max(axis=-1)
    assert np.all(difference > 1e-6)
    prompts = {**inputs, "decoder_padding_mask": np.array([[1, 1, 0]] * 2)}
    generated = model.generate(prompts, stop_token_ids=None)
    best = np.argmax(model.predict_on_batch(inputs)[:, 1], axis=-1)
    np.testing.assert_array_equal(generated["decoder_token_ids"][:, 2], best)
