"""From the chosen scores to the weights of the experts' outputs."""

import numpy as np
import pytest
from keras import ops

from keras_moe.routing import CombineWeights
from keras_moe.routing import choose_top_k


def test_one_choice_keeps_its_raw_score_and_two_are_normalized():
    logits = np.log(np.array([[6.0, 3.0, 1.0]], "float32"))
    one = choose_top_k(logits, top_k=1)
    two = choose_top_k(logits, top_k=2)
    np.testing.assert_allclose(
        ops.convert_to_numpy(one.combine_weights), [[0.6]], rtol=1e-6
    )
    # 6 and 3 of 9.
    np.testing.assert_allclose(
        ops.convert_to_numpy(two.combine_weights), [[2 / 3, 1 / 3]], rtol=1e-6
    )


def test_the_p_norm_holds_where_scores_underflow():
    logits = np.float32([[-200.0, -201.0, -230.0]])
    plan = choose_top_k(logits, 2, "sigmoid", CombineWeights(power=2.0))
    scores = np.exp([0.0, -1.0])
    np.testing.assert_allclose(
        ops.convert_to_numpy(plan.combine_weights)[0],
        scores / np.sqrt(np.sum(scores**2)),
        rtol=1e-5,
    )


def test_combine_weights_are_divided_by_their_p_norm():
    logits = np.log(np.array([[4.0, 3.0, 1.0]], "float32") / 8)
    for power, norm in ((1.0, 7.0), (2.0, 5.0), (3.0, 91 ** (1 / 3))):
        plan = choose_top_k(
            logits, 2, combine_weights=CombineWeights(power=power)
        )
        np.testing.assert_allclose(
            ops.convert_to_numpy(plan.combine_weights),
            [[4 / norm, 3 / norm]],
            rtol=1e-6,
        )


def test_without_normalizing_the_power_means_nothing():
    logits = np.log(np.array([[4.0, 3.0, 1.0]], "float32") / 8)
    plan = choose_top_k(
        logits,
        2,
        combine_weights=CombineWeights(normalize=False, power=2.0),
    )
    np.testing.assert_allclose(
        ops.convert_to_numpy(plan.combine_weights), [[0.5, 0.375]], rtol=1e-6
    )


def test_the_scale_comes_after_normalizing():
    logits = np.log(np.array([[4.0, 3.0, 1.0]], "float32") / 8)
    plan = choose_top_k(logits, 2, combine_weights=CombineWeights(scale=2.5))
    np.testing.assert_allclose(
        ops.convert_to_numpy(plan.combine_weights).sum(), 2.5, rtol=1e-6
    )


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("power", [1.0, 2.0])
def test_the_gradient_is_that_of_the_formula(power, normalize, vjp):
    logits = np.random.default_rng(0).normal(size=(6, 5)).astype("float32")
    cotangent = np.random.default_rng(1).normal(size=(6, 2)).astype("float32")
    settings = CombineWeights(normalize, power, scale=2.5)
    indices = np.argsort(-logits, axis=-1, kind="stable")[:, :2]
    weights, (gradient,) = vjp(
        lambda logits: (
            choose_top_k(logits, 2, combine_weights=settings).combine_weights
        ),
        (logits,),
        cotangent,
    )
    probs = np.exp(logits.astype("float64"))
    probs /= probs.sum(axis=-1, keepdims=True)
    chosen = np.take_along_axis(probs, indices, axis=-1)
    one_hot = np.eye(5)[indices]  # (6, 2, 5)
    if normalize:
        # w_i = p_i / (sum_k p_k^q)^(1/q), in which the softmax's own sum
        # drops out: d w_i / d logit_j = w_i (1_ij - p_j^q / sum_k p_k^q).
        shares = chosen**power / np.sum(chosen**power, -1, keepdims=True)
        wanted_weights = shares ** (1 / power)
        inner = np.einsum("tk,tke->te", shares, one_hot)
    else:
        wanted_weights, inner = chosen, probs
    slope = wanted_weights[..., None] * (one_hot - inner[:, None, :])
    np.testing.assert_allclose(weights, 2.5 * wanted_weights, rtol=1e-5)
    np.testing.assert_allclose(
        gradient,
        2.5 * np.einsum("tk,tke->te", cotangent, slope),
        rtol=1e-4,
        atol=1e-6,
    )


@pytest.mark.parametrize("power", [0, -1.0, float("nan")])
def test_a_power_that_is_not_positive_is_refused(power):
    with pytest.raises(ValueError, match="`power` to be positive") as error:
        CombineWeights(power=power)
    assert f"power={power}" in str(error.value)
    assert "Use 1 to divide by the sum" in str(error.value)
