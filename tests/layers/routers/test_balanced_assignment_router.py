"""BASE layers: Lewis et al., 2021, section 3, in NumPy."""

import itertools

import numpy as np
import pytest
from keras import ops

from keras_moe.balancing import RouterZLoss
from keras_moe.layers import BalancedAssignmentRouter
from keras_moe.layers import SparseMoE
from keras_moe.testing import run_layer_test

GROUPS, LENGTH, HIDDEN, INNER, EXPERTS = 2, 6, 4, 2, 3
MASK = np.arange(LENGTH) < np.array([[6], [3]])


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def numpy(tensor):
    return np.array(ops.convert_to_numpy(tensor))


def best_assignment(logits):
    """Try all assignments in which each expert has as many tokens."""
    even = [
        choice
        for choice in itertools.product(range(EXPERTS), repeat=len(logits))
        if np.ptp(np.bincount(choice, minlength=EXPERTS)) == 0
    ]
    tokens = np.arange(len(logits))
    return max(even, key=lambda choice: logits[tokens, list(choice)].sum())


@pytest.mark.sweep
def test_the_layer_contract():
    run_layer_test(
        BalancedAssignmentRouter,
        {"num_experts": 3, "balancing": RouterZLoss(0.25)},
        input_shape=(2, 4, 5),
        expected_num_trainable_weights=1,
        expected_output_dtype="float32",
    )


def test_outputs_losses_and_gradients_follow_the_paper(
    check_against_formula, expert_outputs
):
    router = BalancedAssignmentRouter(
        EXPERTS, balancing=RouterZLoss(0.5), name="router"
    )
    layer = SparseMoE(EXPERTS, INNER, 1, router=router)
    found = {}

    def formula(inputs, weights):
        outputs, z = np.zeros(inputs.shape), []
        each = expert_outputs(inputs, weights)
        for g in range(GROUPS):
            logits = inputs[g][MASK[g]] @ weights["router/kernel"]
            # Small steps of a weight change no assignment.
            if g not in found:
                found[g] = best_assignment(logits)
            for s, e in enumerate(found[g]):
                gate = 1 / (1 + np.exp(-logits[s, e]))
                outputs[g, s] += gate * each[e, g, s]
            z.extend(np.log(np.exp(logits).sum(-1)) ** 2)
        greedy = np.argmax(inputs[0] @ weights["router/kernel"], axis=-1)
        assert found[0] != tuple(greedy)
        return outputs, 0.5 * np.mean(z)

    inputs = draw(GROUPS, LENGTH, HIDDEN)
    check_against_formula(layer, formula, inputs, MASK)


@pytest.mark.sweep
def test_outside_training_the_best_expert_takes_a_token():
    router = BalancedAssignmentRouter(3, kernel_initializer="identity")
    tokens = np.array([[[9, 5, 0], [8, 7, 1], [7, 0, 6]]], "float32")
    choices = [
        numpy(router(tokens, training=training).expert_indices)[0, :, 0]
        for training in (True, False)
    ]
    assert [each.tolist() for each in choices] == [[0, 1, 2], [0, 0, 0]]


@pytest.mark.once
def test_rules_that_even_the_load_are_refused():
    with pytest.raises(ValueError, match="equally busy anyway"):
        BalancedAssignmentRouter(EXPERTS, balancing="load_balancing_loss")
