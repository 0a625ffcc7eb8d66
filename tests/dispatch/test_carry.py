"""What every way owes: tokens reach their experts and come back."""

import numpy as np
import pytest
from keras import distribution
from keras import ops

from keras_moe import testing
from keras_moe.dispatch import carry
from keras_moe.dispatch import check_strategy
from keras_moe.experts import GatedExperts
from keras_moe.routing import assign_slots
from keras_moe.routing import choose_top_k
from keras_moe.routing import count_tokens

NUM_EXPERTS = 4
CASES = [
    ("sorted", None),
    ("sorted", 2),
    ("slots", 2),
    ("slots", 1),
    ("dense", None),
    ("dense", 2),
]


def multiply(rows, experts):
    """Let expert e multiply its rows by e + 1, and give 0 to nobody's."""
    return ops.multiply(rows, (experts + 1).astype("float32"))


def copy(rows, experts):
    """Give 0 to rows of nobody, as experts do."""
    return ops.where(experts >= 0, rows, 0)


def run(strategy, case, experts, tokens=None):
    tokens = ops.convert_to_tensor(case.tokens if tokens is None else tokens)
    return ops.convert_to_numpy(carry(tokens, case.plan, experts, strategy))


def expected_tokens(case):
    weights = case.weights * case.kept
    factor = case.indices + 1
    return case.tokens * np.sum(weights * factor, axis=-1, keepdims=True)


@pytest.mark.sweep(first=3)
@pytest.mark.parametrize(("strategy", "capacity"), CASES)
def test_tokens_come_back_weighted_from_their_own_experts(
    strategy, capacity, make_case, make_experts
):
    case = make_case(capacity)
    actual = run(strategy, case, make_experts(multiply))
    np.testing.assert_allclose(
        actual, expected_tokens(case), rtol=1e-5, atol=1e-6
    )
    nothing = ~case.kept.any(axis=-1)
    assert nothing.any()
    assert np.all(actual[nothing] == 0.0)


@pytest.mark.parametrize(("strategy", "capacity"), CASES)
def test_a_nan_comes_back_to_its_own_token_only(
    strategy, capacity, make_case, make_experts
):
    case = make_case(capacity)
    tokens = case.tokens.copy()
    tokens[1, 0] = np.nan
    actual = run(strategy, case, make_experts(multiply), tokens)
    expected = expected_tokens(case._replace(tokens=tokens))
    np.testing.assert_array_equal(np.isnan(actual), np.isnan(expected))


@pytest.mark.parametrize(("strategy", "capacity"), CASES)
def test_an_expert_that_overflows_spoils_only_its_own_tokens(
    strategy, capacity, make_case, make_experts
):
    case = make_case(capacity)
    experts = make_experts(
        lambda rows, experts: ops.where(experts == 3, np.float32(np.inf), rows)
    )
    actual = run(strategy, case, experts)
    chosen = case.indices == 3
    np.testing.assert_array_equal(
        np.isfinite(actual).all(axis=-1), ~(chosen & case.kept).any(axis=-1)
    )


@pytest.mark.parametrize(("strategy", "capacity"), CASES)
def test_half_precision_rows_stay_half(
    strategy, capacity, make_case, make_experts
):
    case, experts = make_case(capacity), make_experts(copy)
    tokens = ops.cast(case.tokens, "bfloat16")
    outputs = carry(tokens, case.plan, experts, strategy)
    assert experts.rows.dtype == tokens.dtype
    assert outputs.dtype == tokens.dtype
    # The others copy: the kept weights' sum times the token, rounded once.
    weights = case.weights * case.kept
    expected = np.sum(weights, axis=-1, keepdims=True) * ops.convert_to_numpy(
        ops.cast(tokens, "float32")
    )
    np.testing.assert_allclose(
        ops.convert_to_numpy(ops.cast(outputs, "float32")),
        expected,
        rtol=2**-8,
        atol=1e-6,
    )


@pytest.mark.parametrize(("strategy", "capacity"), CASES)
def test_a_plan_may_come_from_numpy(
    strategy, capacity, make_case, make_experts
):
    case = make_case(capacity)
    indices, weights = (
        ops.convert_to_numpy(each)
        for each in (case.plan.expert_indices, case.plan.combine_weights)
    )
    plan = case.plan._replace(
        expert_indices=indices.astype("int64"),
        combine_weights=weights.astype("float64"),
    )
    experts = make_experts(copy)
    experts.num_experts = np.int64(NUM_EXPERTS)
    tokens = ops.convert_to_tensor(case.tokens)
    actual = carry(tokens, plan, experts, strategy)
    expected = carry(tokens, case.plan, make_experts(copy), strategy)
    assert actual.dtype == expected.dtype
    np.testing.assert_allclose(
        ops.convert_to_numpy(actual),
        ops.convert_to_numpy(expected),
        rtol=1e-5,
        atol=1e-6,
    )


@pytest.mark.parametrize(("strategy", "capacity"), CASES)
def test_a_plan_needs_neither_counts_nor_scores(
    strategy, capacity, make_case, make_experts
):
    case = make_case(capacity)
    plan = case.plan._replace(tokens_per_expert=None, scores=None)
    actual = run(strategy, case._replace(plan=plan), make_experts(multiply))
    np.testing.assert_allclose(
        actual, expected_tokens(case), rtol=1e-5, atol=1e-6
    )


@pytest.mark.sweep(first=3)
@pytest.mark.parametrize(("strategy", "capacity"), CASES)
def test_outputs_and_all_gradients_agree_with_the_oracle(
    strategy, capacity, vjp
):
    rng = np.random.default_rng(0)
    # Odd and different sizes, so that a transposed axis cannot hide.
    inputs, cotangent = rng.normal(size=(2, 2, 5, 3)).astype("float32")
    logits_kernel = rng.normal(size=(3, NUM_EXPERTS)).astype("float32")
    gate, up = rng.normal(size=(2, NUM_EXPERTS, 3, 2)).astype("float32")
    down = rng.normal(size=(NUM_EXPERTS, 2, 3)).astype("float32")
    mask = np.arange(5) < np.array([[5], [3]])
    experts = GatedExperts(NUM_EXPERTS, 2)
    experts.build((None, 3))

    def layer(inputs, kernel, *kernels):
        plan = choose_top_k(ops.matmul(inputs, kernel), 2, padding_mask=mask)
        plan = count_tokens(plan, NUM_EXPERTS)
        if capacity is not None:
            plan = assign_slots(plan, NUM_EXPERTS, capacity)

        def bank(rows, group_sizes=None):
            return experts.compute(rows, group_sizes, *kernels)

        bank.num_experts = NUM_EXPERTS
        return carry(inputs, plan, bank, strategy)

    gate_up = np.concatenate([gate, up], axis=-1)
    outputs, gradients = vjp(
        layer, (inputs, logits_kernel, gate_up, down), cotangent
    )
    arguments = inputs, logits_kernel, gate, up, down
    options = {"top_k": 2, "padding_mask": mask}
    if capacity is not None:
        # ceil(factor * 5 * 2 / 4) slots.
        options["capacity_factor"] = 0.4 * capacity
    expected = testing.moe(*arguments, **options)
    np.testing.assert_allclose(outputs, expected.outputs, rtol=1e-4, atol=1e-5)
    wanted = testing.moe_gradients(*arguments, cotangent=cotangent, **options)
    wanted = (
        wanted.inputs,
        wanted.router_kernel,
        np.concatenate([wanted.gate_kernel, wanted.up_kernel], axis=-1),
        wanted.down_kernel,
    )
    for actual, each in zip(gradients, wanted, strict=True):
        np.testing.assert_allclose(actual, each, rtol=1e-4, atol=1e-5)
        assert np.abs(actual).max() > 1e-2


def layout(strategy, case, make_experts):
    """Name how the rows lay: sorted, or one block for each expert."""
    experts = make_experts(multiply)
    run(strategy, case, experts)
    if experts.group_sizes is not None:
        return "sorted"
    tokens = case.tokens.shape[0] * case.tokens.shape[1]
    return "dense" if experts.rows.shape[1] == tokens else "slots"


def test_a_name_gets_the_way_of_that_name(make_case, make_experts):
    case = make_case(capacity=2)
    for strategy in ("sorted", "slots", "dense"):
        assert layout(strategy, case, make_experts) == strategy


def test_auto_sorts_with_and_without_capacity(make_case, make_experts):
    for capacity in (None, 2):
        assert layout("auto", make_case(capacity), make_experts) == "sorted"
    case, experts = make_case(), make_experts(multiply)
    carry(ops.convert_to_tensor(case.tokens), case.plan, experts)
    assert experts.group_sizes is not None


def test_auto_takes_static_slots_under_a_distribution(
    make_case, make_experts, monkeypatch
):
    monkeypatch.setattr(distribution, "distribution", lambda: "a mesh")
    assert layout("auto", make_case(capacity=2), make_experts) == "slots"
    assert layout("auto", make_case(), make_experts) == "sorted"


@pytest.mark.parametrize("name", ["fast", "Sorted", None])
def test_an_unknown_name_is_refused_with_the_known_ones(
    name, make_case, make_experts
):
    known = r"\['auto', 'sorted', 'slots', 'dense'\]"
    with pytest.raises(ValueError, match=known) as error:
        check_strategy(name)
    assert f"strategy={name!r}" in str(error.value)
    with pytest.raises(ValueError, match=known):
        run(name, make_case(), make_experts(copy))


@pytest.mark.parametrize("strategy", ["auto", "slots"])
def test_another_kind_of_plan_is_refused(strategy, make_case, make_experts):
    class Elsewhere:
        slots = None

    case = make_case()._replace(plan=Elsewhere())
    with pytest.raises(ValueError, match="a strategy for a Elsewhere") as error:
        run(strategy, case, make_experts(copy))
    received = "sorted" if strategy == "auto" else strategy
    assert f"Received: strategy={received!r}" in str(error.value)
