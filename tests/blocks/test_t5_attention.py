"""Tests of T5 attention."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_moe.blocks import t5_attention
from keras_moe.blocks.t5_attention import T5Attention


def attention_oracle(layer, inputs, context, bias, visible):
    """Attend in float64, one query at a time."""
    query, key, value, output = (
        ops.convert_to_numpy(projection.kernel).astype("float64")
        for projection in (
            layer.query_projection,
            layer.key_projection,
            layer.value_projection,
            layer.output_projection,
        )
    )
    outputs = np.zeros_like(inputs, "float64")
    for b in range(inputs.shape[0]):
        for n in range(query.shape[1]):
            for q in range(inputs.shape[1]):
                scores = (context[b] @ key[:, n]) @ (inputs[b, q] @ query[:, n])
                scores = scores + bias[0, n, q]
                weights = np.where(visible[b, q], np.exp(scores), 0.0)
                weights = weights / weights.sum()
                outputs[b, q] += (
                    weights @ (context[b] @ value[:, n]) @ output[n]
                )
    return outputs


@pytest.fixture
def case():
    """Return layer, inputs, context, bias and mask, all of them random."""
    rng = np.random.default_rng(0)
    layer = T5Attention(num_heads=2, head_dim=3)
    layer.build((2, 4, 6))
    for variable in layer.trainable_variables:
        variable.assign(0.7 * rng.normal(size=variable.shape))
    inputs = rng.normal(size=(2, 4, 6)).astype("float32")
    context = rng.normal(size=(2, 5, 6)).astype("float32")
    bias = rng.normal(size=(1, 2, 4, 5)).astype("float32")
    visible = rng.random((2, 4, 5)) < 0.6
    visible[:, :, 0] = True
    return layer, inputs, context, bias, visible


def test_matches_the_oracle_with_bias_and_mask(case):
    layer, inputs, context, bias, visible = case
    outputs = layer(inputs, context, bias, visible)
    np.testing.assert_allclose(
        ops.convert_to_numpy(outputs),
        attention_oracle(layer, inputs, context, bias, visible),
        rtol=1e-4,
        atol=1e-5,
    )


def test_without_context_attends_to_itself(case):
    layer, inputs, _, _, _ = case
    everything = np.ones((2, 4, 4), bool)
    no_bias = np.zeros((1, 2, 4, 4))
    np.testing.assert_allclose(
        ops.convert_to_numpy(layer(inputs)),
        attention_oracle(layer, inputs, inputs, no_bias, everything),
        rtol=1e-4,
        atol=1e-5,
    )


def test_a_row_without_visible_keys_is_finite(case):
    layer, inputs, context, bias, visible = case
    visible[0] = False
    outputs = ops.convert_to_numpy(layer(inputs, context, bias, visible))
    assert np.isfinite(outputs).all()


def test_hidden_keys_do_not_reach_the_output(case):
    layer, inputs, context, bias, visible = case
    visible[:, :, 3] = False
    changed = context.copy()
    changed[:, 3] = 1e4
    np.testing.assert_array_equal(
        ops.convert_to_numpy(layer(inputs, context, bias, visible)),
        ops.convert_to_numpy(layer(inputs, changed, bias, visible)),
    )


def test_queries_start_smaller_by_the_root_of_the_head_width():
    layer = T5Attention(num_heads=8, head_dim=16)
    layer.build((None, None, 64))
    # 64 * 8 * 16 = 8192 samples: their deviation is within 1/128 of the
    # true one, at one standard error.
    deviations = [
        ops.convert_to_numpy(projection.kernel).std()
        for projection in (
            layer.query_projection,
            layer.key_projection,
            layer.value_projection,
            layer.output_projection,
        )
    ]
    expected = [(64 * 16) ** -0.5, 64**-0.5, 64**-0.5, 128**-0.5]
    np.testing.assert_allclose(deviations, expected, rtol=0.05)


def test_dropout_hides_a_key_from_all_queries():
    layer = T5Attention(num_heads=1, head_dim=4, dropout=0.5)
    layer.build((1, 6, 4))
    identity = np.eye(4, dtype="float32").reshape(4, 1, 4)
    layer.query_projection.kernel.assign(0.0 * identity)
    layer.value_projection.kernel.assign(identity)
    layer.output_projection.kernel.assign(identity.reshape(1, 4, 4))
    inputs = np.random.default_rng(0).normal(size=(1, 6, 4))
    inputs = inputs.astype("float32")
    dropped = ops.convert_to_numpy(layer(inputs, training=True))
    kept = ops.convert_to_numpy(layer(inputs, training=False))
    # Equal queries see equal weights, so their outputs agree exactly when
    # the same keys are hidden from all of them.
    np.testing.assert_allclose(dropped, dropped[:, :1].repeat(6, 1), rtol=1e-5)
    np.testing.assert_allclose(kept[0, 0], inputs[0].mean(0), rtol=1e-4)
    assert not np.allclose(dropped, kept)


def test_float16_scores_do_not_overflow():
    layer = T5Attention(num_heads=1, head_dim=2, dtype="mixed_float16")
    layer.build((1, 3, 2))
    inputs = np.full((1, 3, 2), 60.0, "float32")
    outputs = layer(inputs, position_bias=np.full((1, 1, 3, 3), 6e4, "float16"))
    assert keras.backend.standardize_dtype(outputs.dtype) == "float16"
    assert np.isfinite(ops.convert_to_numpy(outputs)).all()


def test_unknown_dimensions_and_config_round_trip():
    layer = T5Attention(2, 3, dropout=0.2, name="attention")
    assert layer(keras.Input((None, 6))).shape == (None, None, 6)
    config = keras.saving.serialize_keras_object(layer)
    copy = keras.saving.deserialize_keras_object(config)
    assert copy.get_config() == layer.get_config()


@pytest.mark.sweep(first=1)
@pytest.mark.parametrize("mode", ["full", "larger_than", "list_of_layers"])
def test_rematerialization_does_not_change_the_step(mode):
    """Covers dropout, whose random state must not be drawn twice."""

    def take_a_step(mode):
        keras.utils.set_random_seed(0)
        with keras.RematScope(
            mode=mode, output_size_threshold=1, layer_names=["attention"]
        ):
            layer = T5Attention(2, 3, dropout=0.5, name="attention")
        inputs, bias = keras.Input((4, 6)), keras.Input((2, 4, 4))
        mask = keras.Input((4, 4), dtype="bool")
        outputs = layer(inputs, position_bias=bias, attention_mask=mask)
        model = keras.Model([inputs, bias, mask], outputs)
        model.compile(keras.optimizers.SGD(1.0), "mse")
        rng = np.random.default_rng(0)
        x = rng.normal(size=(3, 4, 6)), rng.normal(size=(3, 2, 4, 4))
        model.train_on_batch(
            [*x, np.ones((3, 4, 4), bool)], rng.normal(size=(3, 4, 6))
        )
        return [ops.convert_to_numpy(w.value) for w in layer.weights]

    plain, recomputing = take_a_step(None), take_a_step(mode)
    for ours, theirs in zip(plain, recomputing, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_only_the_scores_are_rematerialized(monkeypatch):
    with keras.RematScope(mode="full"):
        layer = T5Attention(2, 3)
    calls = []
    weigh_values = t5_attention._weigh_values

    def counting(*arguments):
        calls.append(arguments)
        return weigh_values(*arguments)

    monkeypatch.setattr(t5_attention, "_weigh_values", counting)
    inputs = keras.Input((4, 6))
    model = keras.Model(inputs, layer(inputs))
    if keras.backend.backend() == "jax":
        jax = pytest.importorskip("jax")
        jaxpr = jax.make_jaxpr(model)(np.ones((3, 4, 6), "float32"))
        names = [str(equation.primitive) for equation in jaxpr.eqns]
        assert sum("checkpoint" in n or "remat" in n for n in names) == 1
        return
    model.compile("sgd", "mse", run_eagerly=True)
    model.train_on_batch(np.ones((3, 4, 6)), np.ones((3, 4, 6)))
    calls.clear()
    model.train_on_batch(np.ones((3, 4, 6)), np.ones((3, 4, 6)))
    # Once forward, once more for the gradient.
    assert len(calls) == 2
