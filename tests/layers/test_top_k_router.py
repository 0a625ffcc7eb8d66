"""The layer that decides which experts see a token."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_moe import testing
from keras_moe.balancing import ExpertBias
from keras_moe.balancing import LoadBalancingLoss
from keras_moe.balancing import RouterZLoss
from keras_moe.layers import TopKRouter
from keras_moe.routing import CombineWeights
from keras_moe.routing import ExpertGroups
from keras_moe.testing import run_layer_test


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


@keras.saving.register_keras_serializable(package="tests")
def squared_relu(router_logits):
    return ops.square(ops.relu(router_logits))


def losses_of(layer):
    return [float(ops.convert_to_numpy(loss)) for loss in layer.losses]


def test_the_layer_contract():
    run_layer_test(
        TopKRouter,
        {
            "num_experts": 4,
            "top_k": 2,
            "score_function": "sigmoid",
            "combine_weights": CombineWeights(normalize=False, scale=2.5),
            "jitter_noise": 0.125,
            "balancing": [LoadBalancingLoss(0.5), RouterZLoss(0.25)],
            "kernel_initializer": "he_normal",
            "seed": 3,
        },
        input_shape=(2, 3, 5),
        expected_output_shape=[
            (2, 3, 2),
            (2, 3, 2),
            (2, 4),
            (2, 3, 4),
            (2, 3, 4),
            (2, 3),
        ],
        expected_num_trainable_weights=1,
        expected_output_dtype="float32",
    )


@pytest.mark.parametrize("shape", [(7, 5), (2, 3, 5), (2, 2, 2, 5)])
def test_inputs_of_any_rank_are_routed_as_the_oracle_does(shape):
    router = TopKRouter(num_experts=4, top_k=2)
    inputs = draw(*shape)
    plan = router(inputs)
    expected = testing.route(
        inputs, ops.convert_to_numpy(router.kernel.value), top_k=2
    )
    np.testing.assert_array_equal(
        ops.convert_to_numpy(plan.expert_indices), expected.expert_indices
    )
    np.testing.assert_allclose(
        ops.convert_to_numpy(plan.combine_weights),
        expected.combine_weights,
        rtol=1e-5,
    )
    assert tuple(plan.scores.padding_mask.shape) == shape[:-1]


def test_unknown_dimensions_stay_unknown():
    router = TopKRouter(num_experts=4, top_k=3)
    plan = router(keras.KerasTensor((None, None, 5), dtype="float16"))
    assert plan.expert_indices.shape == (None, None, 3)
    assert plan.expert_indices.dtype == "int32"
    assert plan.scores.logits.shape == (None, None, 4)
    assert plan.scores.logits.dtype == "float32"
    assert plan.scores.padding_mask.shape == (None, None)
    assert plan.scores.padding_mask.dtype == "bool"


@pytest.mark.parametrize("policy", ["bfloat16", "mixed_float16", "float16"])
def test_everything_is_float32_under_every_policy(policy):
    keras.config.set_dtype_policy(policy)
    for router in (
        TopKRouter(num_experts=4),
        TopKRouter(num_experts=4, dtype=policy),
    ):
        inputs = ops.cast(draw(3, 5), router.compute_dtype)
        plan = router(inputs, training=True)
        assert keras.backend.standardize_dtype(router.kernel.dtype) == "float32"
        dtypes = {
            keras.backend.standardize_dtype(tensor.dtype)
            for tensor in (
                plan.combine_weights,
                plan.scores.logits,
                plan.scores.probs,
                *router.losses,
            )
        }
        assert dtypes == {"float32"}
        # Not only the label: half precision would differ by 1e-3.
        np.testing.assert_allclose(
            ops.convert_to_numpy(plan.scores.logits),
            ops.convert_to_numpy(ops.cast(inputs, "float32"))
            @ ops.convert_to_numpy(router.kernel.value),
            rtol=1e-5,
            atol=1e-6,
        )


def test_losses_are_added_only_while_training_and_weighted():
    router = TopKRouter(
        3, 1, balancing=[LoadBalancingLoss(0.5), RouterZLoss(0.25)]
    )
    inputs = draw(8, 5)
    plan = router(inputs, training=True)
    probs, logits, indices = (
        ops.convert_to_numpy(each)
        for each in (plan.scores.probs, plan.scores.logits, plan.expert_indices)
    )
    expected = [
        0.5 * testing.load_balancing_loss(indices, probs),
        0.25 * testing.router_z_loss(logits),
    ]
    np.testing.assert_allclose(losses_of(router), expected, rtol=1e-5)
    router(inputs, training=False)
    assert router.losses == []


@pytest.mark.parametrize(
    ("weights", "count"), [((0.0, 0.0), 0), ((0.1, 0.0), 1), ((0.0, 0.1), 1)]
)
def test_a_weight_of_zero_turns_a_loss_off(weights, count):
    router = TopKRouter(
        3, balancing=[LoadBalancingLoss(weights[0]), RouterZLoss(weights[1])]
    )
    router(draw(4, 5), training=True)
    assert len(router.losses) == count


def test_jitter_multiplies_each_input_within_its_amplitude_while_training():
    router = TopKRouter(6, jitter_noise=0.25, kernel_initializer="identity")
    inputs = np.ones((500, 6), "float32")

    def logits(training):
        plan = router(inputs, training=training)
        return ops.convert_to_numpy(plan.scores.logits)

    np.testing.assert_array_equal(logits(training=False), inputs)
    noise = logits(training=True)
    assert noise.min() >= 0.75
    assert noise.max() <= 1.25
    # Uniform between the two: mean 1, standard deviation 0.5 / sqrt(12).
    assert noise.mean() == pytest.approx(1.0, abs=0.01)
    assert noise.std() == pytest.approx(0.5 / 12**0.5, abs=0.01)
    assert np.max(np.abs(noise - logits(training=True))) > 0.1


def test_jitter_repeats_with_an_int_seed():
    def logits(seed):
        router = TopKRouter(
            6, jitter_noise=0.25, kernel_initializer="identity", seed=seed
        )
        plan = router(np.ones((3, 6), "float32"), training=True)
        return ops.convert_to_numpy(plan.scores.logits)

    np.testing.assert_array_equal(logits(1), logits(1))
    assert np.max(np.abs(logits(1) - logits(2))) > 0.01


def test_a_function_of_ones_own_survives_the_config():
    router = TopKRouter(4, score_function=squared_relu)
    revived = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(router)
    )
    assert revived.score_function is squared_relu
    revived.build((None, 5))
    revived.kernel.assign(draw(5, 4))
    plan = revived(draw(3, 5, seed=1))
    logits = ops.convert_to_numpy(plan.scores.logits)
    np.testing.assert_allclose(
        ops.convert_to_numpy(plan.scores.probs),
        np.maximum(logits, 0) ** 2,
        rtol=1e-5,
    )


def test_a_regularizer_of_the_kernel_is_applied_and_kept():
    router = TopKRouter(4, kernel_regularizer=keras.regularizers.L2(0.5))
    router = TopKRouter.from_config(router.get_config())
    router.build((None, 5))
    kernel = ops.convert_to_numpy(router.kernel.value)
    np.testing.assert_allclose(
        losses_of(router), [0.5 * np.sum(kernel**2)], rtol=1e-5
    )


@pytest.mark.sweep
def test_the_layer_contract_with_groups_and_a_bias():
    run_layer_test(
        TopKRouter,
        {
            "num_experts": 6,
            "top_k": 2,
            "combine_weights": CombineWeights(power=2.0),
            "balancing": [
                ExpertBias(0.01),
                LoadBalancingLoss(0.01),
                RouterZLoss(0.001),
            ],
            "expert_groups": ExpertGroups(3, 2, "top2_sum"),
        },
        input_shape=(2, 3, 5),
        expected_num_trainable_weights=1,
        expected_output_dtype="float32",
    )


@pytest.mark.parametrize("policy", ["float32", "bfloat16", "mixed_float16"])
def test_the_bias_is_float32_starts_at_zero_and_is_not_trained(policy):
    router = TopKRouter(num_experts=4, balancing=ExpertBias(), dtype=policy)
    router.build((None, 5))
    bias = router.expert_bias
    assert keras.backend.standardize_dtype(bias.dtype) == "float32"
    np.testing.assert_array_equal(ops.convert_to_numpy(bias), np.zeros(4))
    assert not bias.trainable
    assert len(router.trainable_weights) == 1
    without = TopKRouter(num_experts=4)
    without.build((None, 5))
    assert without.expert_bias is None


def test_the_bias_takes_part_in_the_choice_alone():
    router = TopKRouter(
        3,
        1,
        score_function="sigmoid",
        balancing=ExpertBias(),
        combine_weights=CombineWeights(normalize=False),
        kernel_initializer="identity",
    )
    router.build((None, 3))
    # Expert 0 scores sigmoid(2) = 0.88, expert 1 sigmoid(0) = 0.5.
    inputs = np.array([[2.0, 0.0, -1.0]], "float32")
    for bias, expert, weight in ((0.3, 0, 0.880797), (0.4, 1, 0.5)):
        router.expert_bias.assign([0.0, bias, 0.0])
        plan = router(inputs)
        assert ops.convert_to_numpy(plan.expert_indices).tolist() == [[expert]]
        np.testing.assert_allclose(
            ops.convert_to_numpy(plan.combine_weights), [[weight]], rtol=1e-6
        )


def test_a_training_step_moves_the_bias_towards_a_balanced_load():
    router = TopKRouter(
        4, 2, balancing=["load_balancing_loss", ExpertBias(rate=0.125)]
    )
    inputs = draw(2, 9, 5)
    mask = np.ones((2, 9), bool)
    mask[1, 4:] = False
    expected = np.zeros(4)
    for _ in range(5):
        plan = router(inputs, padding_mask=mask, training=True)
        counts = testing.tokens_per_expert(
            ops.convert_to_numpy(plan.expert_indices), 4, mask
        )
        assert testing.max_violation(counts) > 0.0
        expected += testing.expert_bias_update(counts, 0.125)
        np.testing.assert_array_equal(
            ops.convert_to_numpy(router.expert_bias), expected
        )


def test_the_bias_stays_at_inference_when_frozen_and_unless_asked():
    def bias_after(training=True, trainable=True, rate=0.0):
        router = TopKRouter(4, 2, balancing=ExpertBias(rate))
        router.trainable = trainable
        router(draw(9, 5), training=training)
        return ops.convert_to_numpy(router.expert_bias)

    assert bias_after(rate=0.125).any()
    assert not bias_after().any()
    assert not bias_after(training=False, rate=0.125).any()
    assert not bias_after(trainable=False, rate=0.125).any()


def test_tokens_stay_within_their_best_groups():
    inputs = draw(40, 6)
    router = TopKRouter(
        6,
        2,
        expert_groups=ExpertGroups(3, 1),
        kernel_initializer="identity",
    )
    indices = ops.convert_to_numpy(router(inputs).expert_indices)
    best = inputs.argmax(axis=-1) // 2
    np.testing.assert_array_equal(indices // 2, np.stack([best, best], -1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_experts": 2, "top_k": 3}, "`top_k` to be at most"),
        (
            {"num_experts": 2, "balancing": "expert_bias_update"},
            "`balancing` to be of .*'expert_bias'",
        ),
        ({"num_experts": 0}, "`num_experts` to be a positive integer"),
        ({"num_experts": 2, "top_k": 0}, "`top_k` to be a positive integer"),
        ({"num_experts": 2, "jitter_noise": -0.1}, "`jitter_noise` to be 0 or"),
        (
            {"num_experts": 2, "score_function": "max"},
            r"one of \['sigmoid', 'softmax', 'sqrt_softplus'\]",
        ),
        (
            {"num_experts": 6, "expert_groups": ExpertGroups(4, 2)},
            "`num_groups` to divide",
        ),
        (
            {"num_experts": 6, "top_k": 3, "expert_groups": ExpertGroups(3, 1)},
            "groups with enough experts",
        ),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        TopKRouter(**arguments)


@pytest.mark.parametrize(
    ("value", "arguments", "message"),
    [
        (ExpertBias, {"rate": -0.1}, "`rate` to be 0 or more"),
        (LoadBalancingLoss, {"weight": -1}, "`weight` to be 0 or"),
        (RouterZLoss, {"weight": -1}, "`weight` to be 0 or"),
        (
            ExpertGroups,
            {"num_groups": 3, "num_limited": 4},
            "`num_limited` between",
        ),
        (
            ExpertGroups,
            {"num_groups": 3, "num_limited": 2, "score": "mean"},
            "`score` to be one",
        ),
    ],
)
def test_bad_values_are_refused(value, arguments, message):
    with pytest.raises(ValueError, match=message):
        value(**arguments)


def test_bad_inputs_are_refused():
    router = TopKRouter(num_experts=4)
    router.build((None, 5))
    with pytest.raises(ValueError, match="Add a batch axis"):
        router(draw(5))
    with pytest.raises(ValueError, match="Skip empty batches"):
        router(draw(0, 5))
    with pytest.raises(ValueError, match="one entry per token"):
        router(draw(2, 3, 5), padding_mask=np.ones((2, 4), bool))


@pytest.mark.parametrize(
    "arguments",
    [
        {"capacity": 1.25},
        {"combine_weights": {"normalize": True}},
        {"expert_groups": 2},
    ],
    ids=str,
)
def test_a_setting_of_another_kind_is_refused(arguments):
    (name,) = arguments
    with pytest.raises(ValueError, match=f"Expected `{name}`.*Write `{name}="):
        TopKRouter(4, **arguments)
