"""Sinkhorn routing: Megatron's rule in NumPy."""

import numpy as np
import pytest
from keras import ops

from keras_moe.balancing import ExpertBias
from keras_moe.balancing import RouterZLoss
from keras_moe.layers import SinkhornRouter
from keras_moe.layers import SparseMoE
from keras_moe.testing import run_layer_test

GROUPS, LENGTH, HIDDEN, INNER, EXPERTS = 2, 5, 4, 2, 3
MASK = np.arange(LENGTH) < np.array([[5], [3]])


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def numpy(tensor):
    return np.array(ops.convert_to_numpy(tensor))


def scaled(logits):
    """Scale rows and columns by turns, 4 times."""
    cost, columns = np.exp(logits), np.ones(EXPERTS)
    for _ in range(4):
        rows = 1 / (cost @ columns)
        columns = 1 / (rows @ cost)
    return rows[:, None] * cost * columns


@pytest.mark.sweep
def test_the_layer_contract():
    run_layer_test(
        SinkhornRouter,
        {
            "num_experts": 4,
            "top_k": 2,
            "num_iterations": 3,
            "balancing": RouterZLoss(0.25),
        },
        input_shape=(2, 3, 5),
        expected_num_trainable_weights=1,
        expected_output_dtype="float32",
    )


@pytest.mark.sweep(first=1)
@pytest.mark.parametrize("top_k", [1, 2])
def test_outputs_losses_and_gradients_follow_the_rule(
    top_k, check_against_formula, expert_outputs
):
    router = SinkhornRouter(
        EXPERTS,
        top_k,
        num_iterations=4,
        balancing=RouterZLoss(0.5),
        name="router",
    )
    layer = SparseMoE(EXPERTS, INNER, top_k, router=router)
    differs = []

    def formula(inputs, weights):
        outputs, z = np.zeros(inputs.shape), []
        each = expert_outputs(inputs, weights)
        for g in range(GROUPS):
            real = np.flatnonzero(MASK[g])
            logits = inputs[g, real] @ weights["router/kernel"]
            chosen = np.argsort(-scaled(logits), axis=1)[:, :top_k]
            differs.append((chosen != np.argsort(-logits)[:, :top_k]).any())
            scores = 1 / (1 + np.exp(-logits))
            if top_k > 1:
                scores = np.exp(logits)
                scores /= scores.sum(axis=1, keepdims=True)
            for s, experts in enumerate(chosen):
                for e in experts:
                    outputs[g, s] += scores[s, e] * each[e, g, s]
            z.extend(np.log(np.exp(logits).sum(-1)) ** 2)
        return outputs, 0.5 * np.mean(z)

    inputs = draw(GROUPS, LENGTH, HIDDEN)
    check_against_formula(layer, formula, inputs, MASK)
    assert any(differs)


@pytest.mark.sweep
def test_outside_training_the_logits_decide():
    router = SinkhornRouter(2, kernel_initializer="identity")
    tokens = np.array([[[3, 0], [1, 0], [4, 1]]], "float32")
    choices = [
        numpy(router(tokens, training=training).expert_indices)[0, :, 0]
        for training in (True, False)
    ]
    assert [each.tolist() for each in choices] == [[0, 1, 0], [0, 0, 0]]


@pytest.mark.once
def test_rules_that_even_the_load_are_refused():
    for rule in ("load_balancing_loss", ExpertBias(0.1)):
        with pytest.raises(ValueError, match="equally busy anyway"):
            SinkhornRouter(EXPERTS, balancing=rule)


@pytest.mark.once
def test_the_number_of_iterations_must_be_positive():
    with pytest.raises(ValueError, match="`num_iterations` to be a positive"):
        SinkhornRouter(EXPERTS, num_iterations=0)
