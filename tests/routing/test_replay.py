"""Choices that were made before, taken again."""

import numpy as np
import pytest
from keras import ops

from keras_moe.layers import HierarchicalRouter
from keras_moe.layers import SparseMoE
from keras_moe.layers import TopKRouter
from keras_moe.routing import CombineWeights
from keras_moe.routing import OptionalChoices
from keras_moe.routing import choose_top_k

EXPERTS = 4
LOGITS = np.array([[0.5, 2.0, -1.0, 1.0], [3.0, 0.0, 1.0, 0.5]], "float32")


@pytest.mark.parametrize("score_function", ["softmax", "sigmoid"])
def test_weights_are_those_of_the_scores_of_now(score_function):
    choices = np.array([[2, 0], [3, 4]])  # Not the best; 4 is nowhere.
    plan = choose_top_k(LOGITS, 2, score_function, expert_indices=choices)
    scores = np.exp(LOGITS)
    if score_function == "sigmoid":
        scores = 1 / (1 + np.exp(-LOGITS))
    first = scores[0, [2, 0]] / scores[0, [2, 0]].sum()
    np.testing.assert_array_equal(
        ops.convert_to_numpy(plan.expert_indices), choices
    )
    np.testing.assert_allclose(
        ops.convert_to_numpy(plan.combine_weights),
        [first, [1.0, 0.0]],
        rtol=1e-6,
    )


@pytest.mark.parametrize("weights", [None, CombineWeights(normalize=False)])
def test_free_and_absent_choices_stand_next_to_given_ones(weights):
    logits = np.concatenate([LOGITS, LOGITS])
    given = np.array([[-1, -1], [4, 4], [1, 3], [-1, -1]])
    plan = choose_top_k(logits, 2, "softmax", weights, expert_indices=given)
    free = choose_top_k(logits, 2, "softmax", weights)
    expected = ops.convert_to_numpy(free.combine_weights).copy()
    expected[1] = 0.0
    indices = ops.convert_to_numpy(free.expert_indices).copy()
    indices[1] = EXPERTS
    np.testing.assert_array_equal(
        ops.convert_to_numpy(plan.expert_indices), indices
    )
    np.testing.assert_allclose(
        ops.convert_to_numpy(plan.combine_weights), expected, rtol=1e-6
    )


@pytest.mark.parametrize(
    ("score_function", "weights"),
    [
        ("softmax", None),
        ("sigmoid", CombineWeights(power=2.0)),
        ("sqrt_softplus", CombineWeights(normalize=False, scale=2.5)),
        (ops.exp, None),
    ],
)
def test_the_same_choice_has_the_gradients_of_a_free_run(
    vjp, score_function, weights
):
    cotangent = np.array([[1.0, -2.0], [0.5, 3.0], [1.0, 1.0]], "float32")
    logits = np.concatenate([LOGITS, LOGITS[:1]])
    mask = np.array([True, True, False])
    free = choose_top_k(logits, 2, padding_mask=mask)
    choices = ops.convert_to_numpy(free.expert_indices)
    assert choices[2].tolist() == [EXPERTS, EXPERTS]

    def weigh(given):
        return lambda logits: (
            choose_top_k(
                logits, 2, score_function, weights, mask, expert_indices=given
            ).combine_weights
        )

    expected, (expected_gradient,) = vjp(weigh(None), [logits], cotangent)
    value, (gradient,) = vjp(weigh(choices), [logits], cotangent)
    # The same few operations: float32 steps of numbers of size 3.
    np.testing.assert_allclose(value, expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(gradient, expected_gradient, atol=1e-6)
    assert np.any(gradient[:2] != 0)


def test_a_layer_takes_choices_for_its_tokens():
    inputs = np.random.default_rng(0).normal(size=(6, 5)).astype("float32")
    layer = SparseMoE(EXPERTS, 3)
    expected = ops.convert_to_numpy(layer(inputs))
    plan = layer.router(inputs)
    outputs = layer(inputs, expert_indices=plan.expert_indices)
    np.testing.assert_allclose(
        ops.convert_to_numpy(outputs), expected, rtol=1e-5, atol=1e-6
    )
    nowhere = np.full((6, 2), EXPERTS)
    outputs = layer(inputs, expert_indices=nowhere)
    assert np.all(ops.convert_to_numpy(outputs) == 0)


@pytest.mark.parametrize("index", [-2, -1, EXPERTS + 1])
def test_an_index_out_of_range_is_refused(index):
    with pytest.raises(ValueError, match="as many experts as the recorded"):
        choose_top_k(LOGITS, 2, expert_indices=[[0, 1], [2, index]])


@pytest.mark.parametrize("shape", [(2, 1), (3, 2), (1, 3, 2), (2,)])
def test_choices_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match="Give back what was recorded"):
        choose_top_k(LOGITS, 2, expert_indices=np.zeros(shape, "int32"))


@pytest.mark.once
def test_a_router_that_leaves_choices_out_refuses_to_replay():
    with pytest.raises(ValueError, match="weights follow from its choice"):
        HierarchicalRouter(EXPERTS, replay=True)
    router = TopKRouter(EXPERTS, optional_choices=OptionalChoices())
    with pytest.raises(ValueError, match="without `optional_choices`"):
        router(np.ones((2, 3), "float32"), expert_indices=[[0, 1], [0, 1]])
