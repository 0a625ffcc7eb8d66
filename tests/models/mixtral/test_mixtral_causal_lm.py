"""Training and generation with Mixtral."""

import keras
import keras_hub
import numpy as np
import pytest
from keras import ops

from keras_moe.distribution import ExpertParallel
from keras_moe.models import MixtralCausalLM


def logits_of(model, token_ids):
    padding_mask = np.ones_like(token_ids)
    return ops.convert_to_numpy(
        model({"token_ids": token_ids, "padding_mask": padding_mask})
    )


def prompts():
    """Returns prompts of 3, 5 and 4 tokens, padded to 10."""
    token_ids = np.random.default_rng(1).integers(1, 48, (3, 10))
    lengths = np.array([3, 5, 4])
    padding_mask = np.arange(10) < lengths[:, None]
    token_ids = np.where(padding_mask, token_ids, 0).astype("int32")
    return {"token_ids": token_ids, "padding_mask": padding_mask}


def greedy_without_cache(model, inputs):
    token_ids = inputs["token_ids"].copy()
    prompt_mask = inputs["padding_mask"]
    for position in range(prompt_mask.sum(axis=1).min(), 10):
        best = logits_of(model, token_ids)[:, position - 1].argmax(axis=-1)
        token_ids[:, position] = np.where(
            prompt_mask[:, position], token_ids[:, position], best
        )
    return token_ids


def sharpen(model, seed=0):
    """Make the next token depend on the context, not on rounding."""
    rng = np.random.default_rng(seed)
    for weight in model.trainable_weights:
        if "norm" not in weight.path:
            weight.assign(rng.normal(scale=0.4, size=weight.shape))


def test_cached_greedy_tokens_equal_uncached(make_model):
    model = make_model()
    sharpen(model)
    model.compile(sampler="greedy")
    inputs = prompts()
    outputs = model.generate(dict(inputs), stop_token_ids=None)
    expected = greedy_without_cache(model, inputs)
    np.testing.assert_array_equal(outputs["token_ids"], expected)
    assert len(np.unique(expected[:, 5:])) > 3  # no degenerate repetition
    # What was compiled or recorded reads the weights of today.
    sharpen(model, seed=1)
    again = model.generate(dict(inputs), stop_token_ids=None)["token_ids"]
    assert (again != expected).any()
    expected = greedy_without_cache(model, inputs)
    np.testing.assert_array_equal(again, expected)


@pytest.mark.sweep(first=1)
@pytest.mark.parametrize(
    "sampler",
    [
        keras_hub.samplers.TopKSampler(k=5, seed=1),
        keras_hub.samplers.BeamSampler(num_beams=2),
    ],
    ids=lambda sampler: type(sampler).__name__,
)
def test_keras_hub_samplers_keep_the_prompt(make_model, sampler):
    model = make_model(num_layers=1)
    model.compile(sampler=sampler)
    inputs = prompts()
    outputs = model.generate(dict(inputs), stop_token_ids=None)["token_ids"]
    mask = inputs["padding_mask"]
    np.testing.assert_array_equal(outputs[mask], inputs["token_ids"][mask])
    assert outputs.min() >= 0
    assert outputs.max() < 48


@pytest.mark.sweep
def test_generation_stops_at_a_stop_token(make_model):
    model = make_model()
    sharpen(model)
    model.compile(sampler="greedy")
    inputs = prompts()
    free = model.generate(dict(inputs), stop_token_ids=None)["token_ids"]
    stop = int(free[0, 5])
    outputs = model.generate(dict(inputs), stop_token_ids=(stop,))
    first_stop = 3 + list(free[0, 3:]).index(stop)
    mask = outputs["padding_mask"][0]
    assert mask[: first_stop + 1].all()
    assert not mask[first_stop + 1 :].any()


@pytest.mark.sweep(first=1)
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_fit_learns_and_compiles(make_model, batch, backend, dtype):
    keras.utils.set_random_seed(0)
    model = make_model(num_layers=1, dtype=dtype)
    model.compile(
        optimizer=keras.optimizers.Adam(0.02),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        # On TensorFlow once with XLA and once without.
        jit_compile=backend == "jax"
        or (backend == "tensorflow" and dtype == "mixed_bfloat16"),
    )
    labels = np.roll(batch["token_ids"], -1, axis=1)
    history = model.fit(
        batch, labels, epochs=8, batch_size=3, shuffle=False, verbose=0
    ).history["loss"]
    assert np.isfinite(history).all()
    assert history[-1] < 0.8 * history[0]


# Rematerialization adds up the gradients of a tensor that is used several
# times in another order: one unit in the last place, 2 ** -8 in bfloat16.
@pytest.mark.sweep
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [("float32", 1e-4), ("mixed_bfloat16", 2e-2)]
)
def test_rematerialization_changes_nothing(
    make_model, batch, dtype, tolerance, backend
):
    def losses(mode):
        keras.utils.set_random_seed(0)
        with keras.RematScope(mode=mode):
            model = make_model(num_layers=1, dtype=dtype)
        sharpen(model)
        model.compile(
            optimizer=keras.optimizers.SGD(0.5),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            # XLA takes longer than TensorFlow alone, and JAX longer without.
            jit_compile=backend == "jax",
        )
        return model.fit(
            batch, batch["token_ids"], epochs=3, shuffle=False, verbose=0
        ).history["loss"]

    np.testing.assert_allclose(losses("full"), losses(None), rtol=tolerance)


def test_logits_are_float32_under_mixed_bfloat16(make_model, batch):
    model = make_model(dtype="mixed_bfloat16")
    outputs = model.predict_on_batch(batch)
    assert outputs.dtype == "float32"
    assert tuple(outputs.shape) == (3, 9, 48)


def test_keras_file_round_trip(make_model, batch, tmp_path):
    model = make_model()
    model.save(tmp_path / "model.keras")
    copy = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    assert type(copy) is MixtralCausalLM
    np.testing.assert_array_equal(
        copy.predict_on_batch(batch), model.predict_on_batch(batch)
    )


@pytest.mark.sweep
def test_training_goes_on_after_loading(make_model, batch, tmp_path, backend):
    def fit(model, epochs):
        return model.fit(
            batch,
            batch["token_ids"],
            batch_size=3,
            epochs=epochs,
            shuffle=False,
            verbose=0,
        ).history["loss"]

    model = make_model(num_layers=1)
    model.compile(
        optimizer=keras.optimizers.Adam(0.02),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        weighted_metrics=[],
        jit_compile=backend == "jax",
    )
    fit(model, 2)
    model.save(tmp_path / "model.keras")
    expected = fit(model, 2)
    copy = keras.saving.load_model(tmp_path / "model.keras")
    # Equal only if the optimizer's moments came back.
    np.testing.assert_allclose(fit(copy, 2), expected, rtol=1e-5)


@pytest.mark.sweep
def test_a_model_compiled_without_optimizer_comes_back(make_model, tmp_path):
    model = make_model(num_layers=1)
    model.compile(optimizer=None, sampler="greedy")
    model.save(tmp_path / "model.keras")
    copy = keras.saving.load_model(tmp_path / "model.keras")
    assert copy.optimizer is None
    copy.generate(prompts(), stop_token_ids=None)


@pytest.mark.sweep
def test_a_model_loaded_uncompiled_generates_and_asks_for_compile(
    make_model, batch, tmp_path
):
    model = make_model(num_layers=1)
    model.fit(batch, batch["token_ids"], shuffle=False, verbose=0)
    model.save(tmp_path / "model.keras")
    copy = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    copy.generate(prompts(), stop_token_ids=None)
    with pytest.raises(ValueError, match="compile"):
        copy.fit(batch, batch["token_ids"], shuffle=False, verbose=0)


@pytest.mark.once
def test_generation_needs_no_layout_where_keras_has_none(make_model):
    with ExpertParallel().scope():
        model = make_model()
        model.compile(sampler="greedy")
        outputs = model.generate(prompts(), stop_token_ids=None)
    expected = model.generate(prompts(), stop_token_ids=None)
    np.testing.assert_array_equal(outputs["token_ids"], expected["token_ids"])
