"""What every dispatcher owes: tokens reach their experts and come back."""

import numpy as np
import pytest
from keras import ops

from keras_moe.dispatch import choose_dispatcher

NUM_EXPERTS = 4
CASES = [
    ("sorted", None),
    ("sorted", 2),
    ("capacity", 2),
    ("capacity", 1),
    ("dense", None),
    ("dense", 2),
]


def experts_of_rows(rows, group_sizes):
    """Name the expert of each row, -1 for rows of none."""
    if group_sizes is None:
        num_experts, height = rows.shape[:2]
        return np.repeat(np.arange(num_experts), height).reshape(-1, height)
    sizes = ops.convert_to_numpy(group_sizes)
    owners = np.repeat(np.arange(len(sizes)), sizes)
    return np.append(owners, np.full(rows.shape[0] - len(owners), -1))


def run(name, case, tokens=None):
    """Let expert e multiply its rows by e + 1; return the tokens."""
    dispatcher = choose_dispatcher(
        name, case.plan, case.assignment, NUM_EXPERTS
    )
    tokens = case.tokens if tokens is None else tokens
    rows, group_sizes = dispatcher.dispatch(ops.convert_to_tensor(tokens))
    factor = experts_of_rows(rows, group_sizes) + 1
    rows = ops.multiply(rows, factor[..., None].astype("float32"))
    return ops.convert_to_numpy(dispatcher.combine(rows))


def expected_tokens(case):
    weights = ops.convert_to_numpy(case.plan.combine_weights) * case.kept
    factor = ops.convert_to_numpy(case.plan.expert_indices) + 1
    return case.tokens * np.sum(weights * factor, axis=-1, keepdims=True)


@pytest.mark.sweep(first=3)
@pytest.mark.parametrize(("name", "capacity"), CASES)
def test_tokens_come_back_weighted_from_their_own_experts(
    name, capacity, make_case
):
    case = make_case(capacity)
    actual = run(name, case)
    np.testing.assert_allclose(
        actual, expected_tokens(case), rtol=1e-5, atol=1e-6
    )
    nothing = ~case.kept.any(axis=-1)
    assert nothing.any()
    assert np.all(actual[nothing] == 0.0)


@pytest.mark.parametrize(("name", "capacity"), CASES)
def test_a_nan_comes_back_to_its_own_token_only(name, capacity, make_case):
    case = make_case(capacity)
    tokens = case.tokens.copy()
    tokens[1, 0] = np.nan
    actual = run(name, case, tokens)
    expected = expected_tokens(case._replace(tokens=tokens))
    np.testing.assert_array_equal(np.isnan(actual), np.isnan(expected))


@pytest.mark.parametrize(("name", "capacity"), CASES)
def test_an_expert_that_overflows_spoils_only_its_own_tokens(
    name, capacity, make_case
):
    case = make_case(capacity)
    dispatcher = choose_dispatcher(
        name, case.plan, case.assignment, NUM_EXPERTS
    )
    rows, group_sizes = dispatcher.dispatch(ops.convert_to_tensor(case.tokens))
    owners = experts_of_rows(rows, group_sizes)[..., None]
    rows = ops.where(owners == 3, np.float32(np.inf), rows)
    actual = ops.convert_to_numpy(dispatcher.combine(rows))
    chosen = ops.convert_to_numpy(case.plan.expert_indices) == 3
    np.testing.assert_array_equal(
        np.isfinite(actual).all(axis=-1), ~(chosen & case.kept).any(axis=-1)
    )


@pytest.mark.parametrize(("name", "capacity"), CASES)
def test_half_precision_rows_stay_half(name, capacity, make_case):
    case = make_case(capacity)
    dispatcher = choose_dispatcher(
        name, case.plan, case.assignment, NUM_EXPERTS
    )
    tokens = ops.cast(case.tokens, "bfloat16")
    rows, group_sizes = dispatcher.dispatch(tokens)
    assert rows.dtype == tokens.dtype
    # Experts give 0 to rows of nobody.
    owners = experts_of_rows(rows, group_sizes)[..., None]
    outputs = dispatcher.combine(ops.where(owners >= 0, rows, 0))
    assert outputs.dtype == tokens.dtype
    # The others copy: the kept weights' sum times the token, rounded once.
    weights = ops.convert_to_numpy(case.plan.combine_weights) * case.kept
    expected = np.sum(weights, axis=-1, keepdims=True) * ops.convert_to_numpy(
        ops.cast(tokens, "float32")
    )
    np.testing.assert_allclose(
        ops.convert_to_numpy(ops.cast(outputs, "float32")),
        expected,
        rtol=2**-8,
        atol=1e-6,
    )


@pytest.mark.parametrize(("name", "capacity"), CASES)
def test_a_plan_may_come_from_numpy(name, capacity, make_case):
    case = make_case(capacity)
    indices, weights = (
        ops.convert_to_numpy(each)
        for each in (case.plan.expert_indices, case.plan.combine_weights)
    )
    plan = case.plan._replace(
        expert_indices=indices.astype("int64"),
        combine_weights=weights.astype("float64"),
    )
    tokens = ops.convert_to_tensor(case.tokens)

    def copies(plan, num_experts):
        dispatcher = choose_dispatcher(name, plan, case.assignment, num_experts)
        rows, _ = dispatcher.dispatch(tokens)
        # Experts give 0 to rows of nobody.
        return dispatcher.combine(ops.where(ops.isnan(rows), 0, rows))

    actual = copies(plan, np.int64(NUM_EXPERTS))
    expected = copies(case.plan, NUM_EXPERTS)
    assert actual.dtype == expected.dtype
    np.testing.assert_allclose(
        ops.convert_to_numpy(actual),
        ops.convert_to_numpy(expected),
        rtol=1e-5,
        atol=1e-6,
    )
