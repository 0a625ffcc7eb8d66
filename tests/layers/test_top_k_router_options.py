"""Options of the top-k router: noise, optional choices, bias, scale."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_moe.balancing import ExpertBias
from keras_moe.layers import TopKRouter
from keras_moe.routing import CombineWeights
from keras_moe.routing import LogitNoise
from keras_moe.routing import OptionalChoices
from keras_moe.testing import run_layer_test

HIDDEN, EXPERTS = 5, 4


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def numpy(tensor):
    return np.array(ops.convert_to_numpy(ops.stop_gradient(tensor)))


def softmax(logits):
    probs = np.exp(logits - np.max(logits, -1, keepdims=True))
    return probs / np.sum(probs, -1, keepdims=True)


def route(inputs, training=True, **arguments):
    """The plan of a router whose logits are its inputs, as arrays."""
    router = TopKRouter(
        inputs.shape[-1],
        kernel_initializer="identity",
        balancing=None,
        **{"top_k": 2, "seed": 1, **arguments},
    )
    plan = router(inputs, training=training)
    scores = {
        name: None if part is None else numpy(part)
        for name, part in plan.scores._asdict().items()
    }
    return numpy(plan.expert_indices), numpy(plan.combine_weights), scores


@pytest.mark.sweep
def test_the_layer_contract_with_every_option():
    run_layer_test(
        TopKRouter,
        {
            "num_experts": EXPERTS,
            "score_function": "sqrt_softplus",
            "logit_noise": LogitNoise("gumbel"),
            "optional_choices": OptionalChoices("threshold", 0.25),
            "use_bias": True,
            "use_expert_scale": True,
            "seed": 3,
        },
        input_shape=(2, 3, HIDDEN),
        expected_num_trainable_weights=3,
        expected_output_dtype="float32",
    )


def test_a_bias_is_learned_and_a_scale_multiplies_the_weights(vjp):
    router = TopKRouter(
        EXPERTS, 2, use_bias=True, use_expert_scale=True, balancing=None
    )
    router.build((None, HIDDEN))
    inputs, kernel = draw(7, HIDDEN), draw(HIDDEN, EXPERTS, seed=1)
    bias, scale = draw(EXPERTS, seed=2), draw(EXPERTS, seed=3)
    cotangent = draw(7, 2, seed=4)
    weights = router.trainable_variables
    assert [each.name for each in weights] == ["kernel", "bias", "expert_scale"]

    def combine_weights(*values):
        with keras.StatelessScope(zip(weights, values, strict=True)):
            return router(inputs).combine_weights

    value, gradients = vjp(combine_weights, [kernel, bias, scale], cotangent)
    logits = inputs.astype("float64") @ kernel + bias
    chosen = np.argsort(-logits, axis=-1)[:, :2]
    share = softmax(np.take_along_axis(logits, chosen, -1))
    np.testing.assert_allclose(value, share * scale[chosen], rtol=1e-5)
    # Softmax's gradient, with the scale as a part of the cotangent.
    seen = cotangent * scale[chosen]
    inner = share * (seen - np.sum(seen * share, -1, keepdims=True))
    on_logits = np.zeros((7, EXPERTS))
    np.put_along_axis(on_logits, chosen, inner, -1)
    on_scale = np.zeros(EXPERTS)
    np.add.at(on_scale, chosen, cotangent * share)
    expected = [inputs.T @ on_logits, on_logits.sum(0), on_scale]
    for gradient, wanted in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(gradient, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stddev", [None, 0.5])
def test_normal_noise_chooses_and_weighs_and_is_told_to_the_losses(stddev):
    logits = draw(4000, EXPERTS)
    noise = LogitNoise(stddev=stddev)
    indices, weights, scores = route(logits, logit_noise=noise)
    np.testing.assert_array_equal(scores["logits"], logits)
    np.testing.assert_allclose(scores["probs"], softmax(logits), rtol=1e-5)
    noisy = scores["noisy_logits"]
    # V-MoE: 1 / E. The error of 16,000 numbers' deviation is 0.6%.
    expected = 0.25 if stddev is None else stddev
    np.testing.assert_allclose(scores["noise_stddev"], expected)
    assert np.std(noisy - logits) == pytest.approx(expected, rel=0.03)
    assert abs(np.mean(noisy - logits)) < 0.02
    chosen = np.argsort(-noisy, axis=-1)[:, :2]
    np.testing.assert_array_equal(indices, chosen)
    np.testing.assert_allclose(
        weights, softmax(np.take_along_axis(noisy, chosen, -1)), rtol=1e-5
    )


@pytest.mark.parametrize("distribution", ["normal", "gumbel"])
def test_there_is_no_noise_outside_training(distribution):
    logits = draw(20, EXPERTS)
    noise = LogitNoise(distribution)
    indices, _, scores = route(logits, training=False, logit_noise=noise)
    np.testing.assert_array_equal(indices, np.argsort(-logits, -1)[:, :2])
    assert scores["noisy_logits"] is scores["noise_stddev"] is None


def test_gumbel_noise_draws_experts_in_proportion_and_does_not_weigh():
    probs = np.array([0.5, 0.25, 0.15, 0.1])
    logits = np.tile(np.log(probs).astype("float32"), (8000, 1))
    indices, weights, scores = route(logits, logit_noise=LogitNoise("gumbel"))
    # 8,000 draws: a standard error of at most 0.006.
    first = np.bincount(indices[:, 0], minlength=4) / len(indices)
    np.testing.assert_allclose(first, probs, atol=0.025)
    # Without replacement: p(second = 0) = sum over the others p p_0 / (1 - p).
    second = np.mean(indices[:, 1] == 0)
    expected = sum(p * 0.5 / (1 - p) for p in probs[1:])
    assert second == pytest.approx(expected, abs=0.025)
    chosen = probs[indices]
    np.testing.assert_allclose(
        weights, chosen / chosen.sum(-1, keepdims=True), rtol=1e-5
    )
    assert scores["noisy_logits"] is None


def test_a_weak_second_choice_is_left_out_by_the_threshold():
    # Shares of the second choice: 0.1 / 0.9, 0.3 / 0.9, 0.45 / 0.9.
    probs = np.array([[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.45, 0.45, 0.1]])
    arguments = {
        "optional_choices": OptionalChoices("threshold", 0.2),
        "combine_weights": CombineWeights(normalize=False, scale=3.0),
        "training": False,
    }
    indices, weights, _ = route(np.log(probs).astype("float32"), **arguments)
    assert indices.tolist() == [[0, 3], [0, 1], [0, 1]]
    expected = 3 * np.array([[0.8, 0.0], [0.6, 0.3], [0.45, 0.45]])
    np.testing.assert_allclose(weights, expected, rtol=1e-5)


def test_choices_that_are_left_out_are_not_counted():
    logits = np.log(np.array([[[0.8, 0.1, 0.1], [0.4, 0.4, 0.2]]], "float32"))
    router = TopKRouter(
        3,
        2,
        kernel_initializer="identity",
        optional_choices=OptionalChoices("threshold", 0.2),
    )
    plan = router(logits)
    np.testing.assert_array_equal(numpy(plan.tokens_per_expert), [[2, 1, 0]])


@pytest.mark.parametrize("apply_to", ["outputs", "inputs"])
def test_a_second_choice_is_kept_at_random_in_proportion(apply_to):
    # The second choice's share is 0.3: kept with probability 0.3 / 0.5.
    logits = np.tile(np.log([0.7, 0.3, 1e-9]).astype("float32"), (8000, 1))
    policy = OptionalChoices("random")
    arguments = {
        "optional_choices": policy,
        "combine_weights": CombineWeights(apply_to=apply_to),
    }
    indices, weights, _ = route(logits, **arguments)
    assert np.all(indices[:, 0] == 0)
    kept = indices[:, 1] == 1
    assert np.mean(kept) == pytest.approx(0.6, abs=0.025)
    assert np.all(indices[~kept, 1] == 3)
    assert not weights[~kept, 1].any()
    indices, _, _ = route(logits, training=False, **arguments)
    assert np.all(indices[:, 1] == 1)


def test_a_scale_and_a_selection_bias_go_with_choices_left_out():
    router = TopKRouter(
        EXPERTS,
        2,
        use_expert_scale=True,
        optional_choices=OptionalChoices("threshold", 0.5),
        balancing=ExpertBias(),
    )
    router.build((None, HIDDEN))
    router.expert_scale.assign([2.0, 3.0, 5.0, 7.0])
    plan = router(draw(9, HIDDEN))
    indices, weights = numpy(plan.expert_indices), numpy(plan.combine_weights)
    assert np.all(indices[:, 1] == EXPERTS)
    assert not weights[:, 1].any()
    scales = np.array([2.0, 3.0, 5.0, 7.0])[indices[:, 0]]
    assert np.all((weights[:, 0] > 0.5 * scales) & (weights[:, 0] <= scales))


@pytest.mark.once
@pytest.mark.parametrize(
    ("value", "arguments", "message"),
    [
        (LogitNoise, {"distribution": "uniform"}, "`distribution` to be one"),
        (LogitNoise, {"stddev": -1.0}, "`stddev` to be 0 or more"),
        (
            LogitNoise,
            {"distribution": "gumbel", "stddev": 1.0},
            "Leave it out",
        ),
        (OptionalChoices, {"policy": "all"}, "`policy` to be one of"),
        (OptionalChoices, {"threshold": 0.0}, "`threshold` above 0"),
        (CombineWeights, {"apply_to": "tokens"}, "`apply_to` to be"),
    ],
    ids=str,
)
def test_bad_values_are_refused(value, arguments, message):
    with pytest.raises(ValueError, match=message):
        value(**arguments)
