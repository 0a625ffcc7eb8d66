"""Experts choose tokens: Zhou et al., 2022, section 3.2, in NumPy."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_moe.balancing import ExpertBias
from keras_moe.balancing import RouterZLoss
from keras_moe.layers import ExpertChoiceRouter
from keras_moe.layers import SparseMoE
from keras_moe.routing import Capacity
from keras_moe.routing import ExpertChoice
from keras_moe.testing import run_layer_test

GROUPS, LENGTH, HIDDEN, INNER, EXPERTS = 2, 7, 4, 2, 3
MASK = np.arange(LENGTH) < np.array([[7], [3]])


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def numpy(tensor):
    return np.array(ops.convert_to_numpy(tensor))


def softmax(logits):
    shares = np.exp(logits - logits.max(-1, keepdims=True))
    return shares / shares.sum(-1, keepdims=True)


def choose(probs, real, capacity):
    """Return each expert's tokens of one group, best first."""
    real = [s for s in range(len(probs)) if real[s]]
    return [
        sorted(real, key=lambda s: -probs[s, e])[:capacity]
        for e in range(probs.shape[1])
    ]


@pytest.mark.sweep
def test_the_layer_contract():
    run_layer_test(
        ExpertChoiceRouter,
        {
            "num_experts": 3,
            "capacity_factor": 1.5,
            "eval_capacity_factor": 1.4,
            "balancing": RouterZLoss(0.25),
            "kernel_initializer": "he_normal",
        },
        input_shape=(2, 4, 5),
        # ceil(1.5 * 4 / 3) tokens, and ceil(1.4 * 4 / 3).
        expected_output_shape=[
            (2, 3, 2),
            (2, 3, 2),
            (2, 3),
            (2, 4, 3),
            (2, 4, 3),
            (2, 4),
        ],
        expected_num_trainable_weights=1,
        expected_output_dtype="float32",
        # The number of tokens follows from the length.
        dynamic_axes=(0,),
    )


def test_outputs_losses_and_gradients_follow_the_paper(
    check_against_formula, expert_outputs
):
    router = ExpertChoiceRouter(
        EXPERTS, 0.8, balancing=RouterZLoss(0.5), name="router"
    )
    layer = SparseMoE(EXPERTS, INNER, router=router)
    chosen = []

    def formula(inputs, weights):
        outputs, z = np.zeros(inputs.shape), []
        each = expert_outputs(inputs, weights)
        for g in range(GROUPS):
            logits = inputs[g] @ weights["router/kernel"]
            probs = softmax(logits)
            # ceil(0.8 * 7 / 3) tokens.
            for e, tokens in enumerate(choose(probs, MASK[g], 2)):
                chosen.extend(tokens)
                for s in tokens:
                    outputs[g, s] += probs[s, e] * each[e, g, s]
            z.extend(np.log(np.exp(logits[MASK[g]]).sum(-1)) ** 2)
        return outputs, 0.5 * np.mean(z)

    inputs = draw(GROUPS, LENGTH, HIDDEN, seed=1)
    step = check_against_formula(layer, formula, inputs, MASK)
    # Some token of the first group by several experts, some by none.
    counts = np.bincount(chosen[:6], minlength=LENGTH)
    assert counts.max() > 1
    assert counts.min() == 0
    assert not step.outputs[~MASK].any()
    assert not step.outputs[0][counts == 0].any()


@pytest.mark.sweep
@pytest.mark.parametrize("shape", [(7, 5), (2, 2, 2, 5)])
def test_inputs_of_other_ranks_are_groups_as_in_a_sparse_layer(shape):
    router = ExpertChoiceRouter(EXPERTS, 1.5)
    inputs = draw(*shape)
    plan = router(inputs)
    groups = inputs.reshape((1 if len(shape) == 2 else 2, -1, 5))
    assert isinstance(plan, ExpertChoice)
    # ceil(1.5 * 7 / 3) or ceil(1.5 * 4 / 3).
    capacity = 4 if len(shape) == 2 else 2
    probs = softmax(groups @ numpy(router.kernel))
    expected = [choose(each, [True] * len(each), capacity) for each in probs]
    np.testing.assert_array_equal(numpy(plan.token_indices), expected)


@pytest.mark.sweep
def test_places_that_no_real_token_fills_go_nowhere():
    router = ExpertChoiceRouter(EXPERTS, 2.4)  # 4 tokens of 5
    mask = np.array([[0, 1, 0, 1, 0], [0, 0, 0, 0, 0]], "bool")
    plan = router(draw(2, 5, HIDDEN), padding_mask=mask)
    indices, weights = numpy(plan.token_indices), numpy(plan.combine_weights)
    assert np.sort(indices[0]).tolist() == 3 * [[1, 3, 5, 5]]
    assert (indices[1] == 5).all()
    assert not weights[indices == 5].any()
    assert numpy(plan.tokens_per_expert).tolist() == [[2, 2, 2], [0, 0, 0]]
    assert numpy(plan.reached()).tolist() == mask.tolist()


@pytest.mark.sweep
def test_an_expert_takes_no_more_tokens_than_there_are():
    plan = ExpertChoiceRouter(2, 5.0)(draw(1, 3, HIDDEN))
    assert np.sort(numpy(plan.token_indices)).tolist() == [2 * [[0, 1, 2]]]


@pytest.mark.sweep
def test_the_factor_outside_training_may_be_another():
    router = ExpertChoiceRouter(2, 1.0, eval_capacity_factor=2.0)
    tokens = draw(1, 4, HIDDEN)
    # 1.0 * 4 / 2 and 2.0 * 4 / 2.
    assert router(tokens, training=True).token_indices.shape[-1] == 2
    assert router(tokens).token_indices.shape[-1] == 4


@pytest.mark.sweep
def test_ties_go_to_the_earlier_token():
    plan = ExpertChoiceRouter(EXPERTS, 1.0)(np.zeros((1, 6, 4), "float32"))
    assert numpy(plan.token_indices).tolist() == [3 * [[0, 1]]]


def test_a_far_token_is_ranked_although_its_probability_underflows():
    router = ExpertChoiceRouter(2, 2 / 3, kernel_initializer="identity")
    # All have a probability of 0 for expert 1, and the second the least bad.
    tokens = np.array([[900, 0], [500, 0], [700, 0]], "float32")
    assert numpy(router(tokens).token_indices).tolist() == [[[0], [1]]]


@pytest.mark.sweep
def test_the_statistics_tell_how_many_tokens_no_expert_sees():
    router = ExpertChoiceRouter(2, 0.5, kernel_initializer="identity")
    layer = SparseMoE(2, 3, router=router)
    layer.statistics.enabled = True
    # One token each: expert 0 takes token 1, expert 1 token 2.
    tokens = np.array([[[1, 0], [3, 0], [0, 2], [0, 9]]], "float32")
    mask = np.array([[True, True, True, False]])
    layer(tokens, padding_mask=mask, training=True)
    result = layer.statistics.result()
    assert result["tokens_per_expert"].tolist() == [1, 1]
    assert result["max_violation"] == 0.0
    assert result["dropped_fraction"] == 0.0
    assert result["unrouted_fraction"] == pytest.approx(1 / 3, rel=1e-6)
    assert result["load_balancing_loss"] == pytest.approx(1.0, rel=1e-6)
    probs = softmax(tokens[0, :3])
    assert result["router_entropy"] == pytest.approx(
        -np.sum(probs * np.log(probs)) / 3, rel=1e-5
    )


@pytest.mark.once
@pytest.mark.parametrize(
    "balancing", ["load_balancing_loss", [RouterZLoss(), ExpertBias(0.1)]]
)
def test_rules_that_even_the_load_are_refused(balancing):
    with pytest.raises(ValueError, match="equally busy anyway.*`balancing=N"):
        ExpertChoiceRouter(EXPERTS, balancing=balancing)


@pytest.mark.once
def test_a_capacity_is_refused():
    with pytest.raises(ValueError, match="no `capacity` for a ExpertChoiceR"):
        ExpertChoiceRouter(EXPERTS, capacity=Capacity(1.0))


@pytest.mark.once
@pytest.mark.parametrize("name", ["capacity_factor", "eval_capacity_factor"])
def test_a_factor_must_be_positive(name):
    with pytest.raises(ValueError, match="to be positive and finite"):
        ExpertChoiceRouter(EXPERTS, **{name: 0.0})


@pytest.mark.once
@pytest.mark.parametrize("strategy", ["sorted", "dense"])
def test_a_strategy_for_other_plans_is_refused(strategy):
    router = ExpertChoiceRouter(EXPERTS)
    layer = SparseMoE(EXPERTS, INNER, router=router, strategy=strategy)
    with pytest.raises(ValueError, match=r"ExpertChoice: one of \['slots'\]"):
        layer(keras.ops.ones((1, 3, HIDDEN)))
