"""Token choice: every token picks its best experts."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from keras_moe import testing
from keras_moe.routing import CombineWeights
from keras_moe.routing import ExpertGroups
from keras_moe.routing import choose_top_k

EXPERTS = 5


def tensors(plan):
    """The five tensors of a plan without counts and slots."""
    return [*plan[:2], *plan.scores[:3]]


@pytest.mark.sweep
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, EXPERTS),
    st.sampled_from(["softmax", "sigmoid"]),
    st.sampled_from([None, True, False]),
    st.sampled_from([1.0, 2.5]),
)
def test_choices_and_weights_agree_with_the_oracle(
    seed, top_k, score_function, normalize, scale
):
    rng = np.random.default_rng(seed)
    # Halves, so that logits often tie; an identity kernel keeps them as drawn.
    logits = rng.integers(-4, 5, (2, 3, EXPERTS)).astype("float32") / 2
    mask = rng.random((2, 3)) > 0.3
    plan = choose_top_k(
        logits,
        top_k,
        score_function,
        CombineWeights(normalize, scale=scale),
        mask,
    )
    expected = testing.route(
        logits,
        np.eye(EXPERTS),
        top_k=top_k,
        score_function=score_function,
        normalize=normalize,
        route_scale=scale,
        padding_mask=mask,
    )
    indices = ops.convert_to_numpy(plan.expert_indices)
    np.testing.assert_array_equal(indices[mask], expected.expert_indices[mask])
    assert np.all(indices[~mask] == EXPERTS)
    for actual, wanted in (
        (plan.combine_weights, expected.combine_weights),
        (plan.scores.probs, expected.probs),
        (plan.scores.logits, expected.logits),
    ):
        np.testing.assert_allclose(
            ops.convert_to_numpy(actual), wanted, rtol=1e-5, atol=1e-7
        )
    np.testing.assert_array_equal(
        ops.convert_to_numpy(plan.scores.padding_mask), mask
    )


def test_all_fields_have_the_dtypes_and_shapes_of_the_record():
    plan = choose_top_k(np.zeros((2, 3, EXPERTS), "float32"), top_k=2)
    assert plan.tokens_per_expert is plan.slots is plan.capacity is None
    assert plan.scores.noisy_logits is plan.scores.noise_stddev is None
    parts = {**plan._asdict(), **plan.scores._asdict()}
    found = {
        name: (
            keras.backend.standardize_dtype(parts[name].dtype),
            tuple(parts[name].shape),
        )
        for name in (*plan._fields[:2], *plan.scores._fields[:3])
    }
    assert found == {
        "expert_indices": ("int32", (2, 3, 2)),
        "combine_weights": ("float32", (2, 3, 2)),
        "logits": ("float32", (2, 3, EXPERTS)),
        "probs": ("float32", (2, 3, EXPERTS)),
        "padding_mask": ("bool", (2, 3)),
    }
    assert np.all(ops.convert_to_numpy(plan.scores.padding_mask))


def test_half_precision_logits_are_scored_in_float32():
    logits = ops.cast(np.array([[10.0, 0.0]]), "bfloat16")
    plan = choose_top_k(logits, top_k=1)
    # 1 / (1 + exp(-10)) = 0.9999546, which bfloat16 rounds to 1.
    weight = float(ops.convert_to_numpy(plan.combine_weights)[0, 0])
    assert weight == pytest.approx(0.9999546, abs=1e-6)


@pytest.mark.parametrize("score_function", ["softmax", "sigmoid"])
def test_equal_logits_tie_wherever_they_stand(score_function):
    # Vectorized exponentials treat the first 4, 8 or 16 numbers otherwise than
    # the rest of a row, with another last bit.
    for num_experts in (5, 9, 17, 23):
        logits = np.full((7, num_experts), 0.3, "float32")
        logits += np.arange(7, dtype="float32")[:, None] / 3
        logits[:, 2] += 1.0
        plan = choose_top_k(logits, num_experts, score_function)
        order = [2, *(e for e in range(num_experts) if e != 2)]
        np.testing.assert_array_equal(
            ops.convert_to_numpy(plan.expert_indices), [order] * 7
        )


def test_logits_too_low_for_a_score_still_have_an_order():
    # exp(-200) and exp(-150) are both 0 in float32.
    logits = np.array([[0.0, -200.0, -150.0]], "float32")
    plan = choose_top_k(logits, top_k=2)
    np.testing.assert_array_equal(
        ops.convert_to_numpy(plan.expert_indices), [[0, 2]]
    )


def test_a_score_function_of_ones_own_decides_by_its_scores():
    logits = np.array([[3.0, 1.0, 2.0]], "float32")
    plan = choose_top_k(logits, 2, score_function=lambda logits: -logits)
    np.testing.assert_array_equal(
        ops.convert_to_numpy(plan.expert_indices), [[1, 2]]
    )


@pytest.mark.parametrize(
    ("center", "score_function"),
    [
        (-60.0, "sigmoid"),
        # Below 1e-38, where float32 ends.
        (-200.0, "sigmoid"),
        (200.0, "sigmoid"),
        (-60.0, lambda logits: 3.0 * ops.sigmoid(logits)),
        # Of a function whose logarithm is unknown the order remains.
        (-200.0, lambda logits: ops.exp(logits)),
    ],
)
def test_scores_near_zero_and_one_are_normalized_with_their_gradient(
    center, score_function, vjp
):
    rng = np.random.default_rng(0)
    logits = rng.normal(center, 1.0, (16, EXPERTS)).astype("float32")
    cotangent = rng.normal(size=(16, 2)).astype("float32")
    plan = choose_top_k(logits, 2, score_function)
    weights, (gradient,) = vjp(
        lambda logits: choose_top_k(logits, 2, score_function).combine_weights,
        (logits,),
        cotangent,
    )
    # In float64 nothing here underflows, and so far to the left a sigmoid is
    # an exponential.
    expected = testing.route(
        logits, np.eye(EXPERTS), top_k=2, score_function="sigmoid"
    )
    indices = ops.convert_to_numpy(plan.expert_indices)
    if center < -100 and callable(score_function):
        np.testing.assert_array_equal(indices, [[0, 1]] * 16)
        chosen = np.exp(logits[:, :2].astype("float64") - center)
        shares = chosen / chosen.sum(axis=-1, keepdims=True)
    else:
        np.testing.assert_array_equal(indices, expected.expert_indices)
        shares = expected.combine_weights
    np.testing.assert_allclose(weights, shares, rtol=1e-5)
    chosen = np.take_along_axis(logits.astype("float64"), indices, axis=-1)
    # d share_i / d logit_j = share_i (1_ij - share_j) (1 - sigmoid(logit_j))
    mean = np.sum(shares * cotangent, axis=-1, keepdims=True)
    slope = np.exp(-np.logaddexp(0.0, chosen))
    wanted = np.zeros(logits.shape)
    np.put_along_axis(
        wanted, indices, shares * (cotangent - mean) * slope, axis=-1
    )
    np.testing.assert_allclose(gradient, wanted, rtol=1e-4, atol=1e-6)


def test_experts_that_a_bias_chooses_are_weighed_however_small_their_scores():
    logits = np.float32([[0.0, -200.0, -201.0]])
    bias = np.float32([0.0, 3.0, 2.0])
    plan = choose_top_k(logits, 2, expert_bias=bias)
    np.testing.assert_array_equal(
        ops.convert_to_numpy(plan.expert_indices), [[1, 2]]
    )
    # e : 1
    np.testing.assert_allclose(
        ops.convert_to_numpy(plan.combine_weights),
        [[0.7310586, 0.2689414]],
        rtol=1e-5,
    )


@pytest.mark.parametrize("group_score", ["max", "top2_sum"])
@pytest.mark.parametrize("score_function", ["softmax", "sigmoid"])
def test_groups_are_compared_where_scores_underflow(
    score_function, group_score
):
    # Groups of two; the second one is best, the third next.
    logits = [0.0, 0.0, -150.0, -150.0, -160.0, -150.5, -170.0, -170.0]
    if score_function == "sigmoid":
        logits[:2] = -300.0, -300.0
    plan = choose_top_k(
        np.float32([logits]),
        4,
        score_function,
        expert_groups=ExpertGroups(4, 2, group_score),
    )
    expected = [0, 1, 2, 3] if score_function == "softmax" else [2, 3, 5, 4]
    np.testing.assert_array_equal(
        ops.convert_to_numpy(plan.expert_indices), [expected]
    )


def test_a_nan_in_one_token_leaves_the_others_alone():
    logits = np.random.default_rng(0).standard_normal((4, EXPERTS))
    clean = choose_top_k(logits.astype("float32"), 2)
    logits[1] = np.nan
    plan = choose_top_k(logits.astype("float32"), 2)
    for actual, expected in zip(tensors(plan), tensors(clean), strict=True):
        np.testing.assert_array_equal(
            np.delete(ops.convert_to_numpy(actual), 1, axis=0),
            np.delete(ops.convert_to_numpy(expected), 1, axis=0),
        )
    indices = ops.convert_to_numpy(plan.expert_indices)
    assert np.all((0 <= indices) & (indices < EXPERTS))


def test_a_bias_chooses_and_does_not_weigh():
    # Scores 0.5, 0.6, 0.7, 0.8; biased 0.9, 0.6, 0.8, 0.6.
    scores = np.array([[0.5, 0.6, 0.7, 0.8]], "float32")
    logits = np.log(scores / (1 - scores))
    bias = np.array([0.4, 0.0, 0.1, -0.2], "float32")
    plan = choose_top_k(logits, 2, "sigmoid", expert_bias=bias)
    np.testing.assert_array_equal(
        ops.convert_to_numpy(plan.expert_indices), [[0, 2]]
    )
    np.testing.assert_allclose(
        ops.convert_to_numpy(plan.combine_weights),
        [[0.5 / 1.2, 0.7 / 1.2]],
        rtol=1e-6,
    )
    np.testing.assert_allclose(
        ops.convert_to_numpy(plan.scores.probs), scores, rtol=1e-6
    )


@pytest.mark.parametrize("score_function", ["softmax", "sigmoid"])
def test_a_bias_of_zero_changes_nothing(score_function):
    logits = np.random.default_rng(0).normal(size=(20, EXPERTS))
    logits = logits.astype("float32")
    plain = choose_top_k(logits, 3, score_function)
    biased = choose_top_k(
        logits, 3, score_function, expert_bias=np.zeros(EXPERTS, "float32")
    )
    for actual, expected in zip(tensors(biased), tensors(plain), strict=True):
        np.testing.assert_array_equal(
            ops.convert_to_numpy(actual), ops.convert_to_numpy(expected)
        )


def test_numpy_scalars_are_numbers():
    logits = np.random.default_rng(0).normal(size=(3, 4))

    def plan_of(number, **options):
        return choose_top_k(
            logits,
            number(2),
            combine_weights=CombineWeights(
                power=number(2.0), scale=number(2.5)
            ),
            expert_groups=ExpertGroups(number(2), number(1)),
            **options,
        )

    expected = plan_of(lambda value: value)
    # An attention mask of 0 and 1 is a mask, too.
    plan = plan_of(
        lambda value: np.array(value)[()], padding_mask=np.ones(3, "int64")
    )
    for actual, wanted in zip(tensors(plan), tensors(expected), strict=True):
        assert actual.dtype == wanted.dtype
        np.testing.assert_array_equal(
            ops.convert_to_numpy(actual), ops.convert_to_numpy(wanted)
        )


def test_an_unknown_score_function_is_refused():
    with pytest.raises(ValueError, match="`score_function` to be one of"):
        choose_top_k(np.zeros((1, 3), "float32"), 1, "soft_max")
