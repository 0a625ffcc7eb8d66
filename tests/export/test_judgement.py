"""What counts as rounding, and what as an error."""

import numpy as np
import pytest

from keras_moe.export import judgement
from keras_moe.export.answers import Answer
from keras_moe.export.judgement import find_problems

# NumPy; the model is never looked at.
pytestmark = pytest.mark.once


@pytest.fixture(autouse=True, params=[True])
def exact(request, monkeypatch):
    """Whether the model computes in float32."""
    monkeypatch.setattr(judgement, "is_exact", lambda model: request.param)
    return request.param


rough = pytest.mark.parametrize("exact", [False], indirect=True)


def problems(answers, run_model=None):
    return find_problems(None, answers, {"serving_default": run_model})


def floats(served, expected):
    served, expected = np.array(served), np.array(expected)
    return [Answer("embed", {}, {"x": served}, {"x": expected})]


def test_rounding_is_measured_by_the_largest_number():
    assert problems(floats([1.0, 200.01], [1.0, 200.0])) == []
    [problem] = problems(floats([1.0, 200.03], [1.0, 200.0]))
    assert problem == "embed, x: differs by 3.0e-02, more than 2.0e-02"


def test_nan_is_no_number():
    [problem] = problems(floats([np.nan, 1.0], [1.0, 1.0]))
    assert "differs by inf" in problem
    assert problems(floats([np.nan, 1.0], [np.nan, 1.0])) == []


@rough
def test_rough_numbers_are_judged_as_a_whole():
    # The root of the mean square is 2 and that of the differences 0.4, then
    # 0.6: more than a quarter of 2.
    assert problems(floats([2.4, -1.6], [2.0, -2.0])) == []
    [problem] = problems(floats([2.6, -1.4], [2.0, -2.0]))
    assert "differs by 6.0e-01, more than 5.0e-01" in problem


def test_whole_numbers_must_be_equal():
    answer = Answer("own", {}, {"x": np.arange(4)}, {"x": np.array([0] * 4)})
    assert problems([answer]) == ["own, x: 75.0% of it differ"]


@rough
def test_rough_whole_numbers_are_not_judged():
    answer = Answer("own", {}, {"x": np.arange(4)}, {"x": np.array([0] * 4)})
    assert problems([answer]) == []


def routed(share):
    """Answer of 10 rows of 100 choices, a share of which differ."""
    served, expected = np.zeros((2, 10, 10, 5, 2), "int32")
    served.reshape(-1)[: int(1000 * share)] = 1
    # Rows come one after another.
    load = np.zeros((10, 5, 3))
    load[: int(np.ceil(10 * share))] = 1.0
    return Answer(
        "router_stats",
        {},
        {"routed_experts": served, "expert_load": load},
        {"routed_experts": expected, "expert_load": 0 * load},
    )


def test_a_near_tie_may_send_a_token_to_another_expert():
    # The load of that row differs too, and is not held against it.
    assert problems([routed(0.01)]) == []


def test_many_tokens_at_other_experts_are_an_error():
    [problem] = problems([routed(0.02)])
    assert problem == "router_stats, routed_experts: 2.0% of them differ"


@rough
def test_rough_choices_may_differ_more():
    assert problems([routed(0.2)]) == []
    assert len(problems([routed(0.3)])) == 1


def generated(served, temperature=0.0):
    """Answer of one row with a prompt of two tokens."""
    expected = np.array([[1, 2, 3, 4, 0]])
    served = np.array([served])
    return Answer(
        "generate",
        {
            "token_ids": expected[:, :2],
            "max_new_tokens": np.array([3]),
            "temperature": np.array([temperature]),
        },
        {"token_ids": served, "lengths": (served > 0).sum(axis=1)},
        {"token_ids": expected, "lengths": np.array([4])},
    )


def logits_model(logits):
    """Model that gives these logits at position 2 and nothing elsewhere."""

    def run(inputs):
        np.testing.assert_array_equal(inputs["padding_mask"], [[1, 1, 1, 0, 0]])
        answer = np.full((1, 5, 6), np.nan)
        answer[0, 2] = logits
        return {"logits": answer}

    return run


def default(differing_by):
    """An answer of logits up to 1."""
    expected = np.array([[1.0, 0.0]])
    served = expected + differing_by
    return Answer("serving_default", {}, {"y": served}, {"y": expected})


def test_equal_tokens_are_not_looked_into():
    assert problems([generated([1, 2, 3, 4, 0])]) == []


@pytest.mark.parametrize(
    ("gap", "temperature", "message"),
    [
        # 1e-4 of the largest logit, which is 1, is a tie.
        (5e-5, 0.0, None),
        (2e-4, 0.0, "row 0 has token 5 at position 3 where the model has 4"),
        # Drawn tokens may be neighbours, whatever lies between them.
        (5e-1, 1.0, None),
    ],
)
def test_another_token_must_be_a_near_tie(gap, temperature, message):
    model = logits_model([0.0, 0.0, 0.0, 0.0, 1.0, 1.0 - gap])
    answers = [default(0.0), generated([1, 2, 3, 5, 2], temperature)]
    found = problems(answers, model)
    assert len(found) == (message is not None)
    if message:
        assert f"generate, token_ids: {message}" in found[0]


def test_a_drawn_token_must_be_a_neighbour():
    model = logits_model([0.5, 0.0, 0.0, 0.0, 1.0, 0.2])
    answers = [default(0.0), generated([1, 2, 3, 5, 2], temperature=1.0)]
    [problem] = problems(answers, model)
    assert "their logits differ by 8.0e-01" in problem


@rough
def test_rough_ties_are_as_wide_as_rough_logits():
    # The logits of the default signature differ by 0.1.
    model = logits_model([0.0, 0.0, 0.0, 0.0, 1.0, 0.7])
    answers = [default(0.1), generated([1, 2, 3, 5, 2])]
    assert problems(answers, model) == []
    model = logits_model([0.0, 0.0, 0.0, 0.0, 1.0, 0.5])
    assert len(problems(answers, model)) == 1


def test_a_length_must_follow_from_the_tokens():
    answer = generated([1, 2, 3, 4, 0])
    answer.served["lengths"] = np.array([5])
    assert problems([answer]) == ["generate, lengths: 100.0% of it differ"]
