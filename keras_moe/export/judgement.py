"""Tell rounding from errors in the answers of a SavedModel.

Two computers of the same numbers agree up to rounding, unless a choice between
nearly equal things comes out the other way. So floating point outputs have a
tolerance, choices must be near ties, and what follows from a choice that came
out the other way (the rest of that row) is not compared.
"""

import numpy as np

from keras_moe.export.differences import absolute_differences
from keras_moe.export.differences import is_float
from keras_moe.export.precision import is_exact

# Of the largest value of an output, where everything is computed in float32 on
# processors: sums of thousands of terms round by less.
TOLERANCE = 1e-4
# Of the root mean square, elsewhere. It tells a wrong computation from a rough
# one: of two outputs that have nothing to do with each other it is 1.4.
ROUGH_TOLERANCE = 0.25
# Share of routed choices that may come out the other way.
CHOICES = 0.01
ROUGH_CHOICES = 0.25
# How far both sides may be off when a near tie is decided, and for logits that
# are farther off than those that were compared.
TIE = 4.0


def find_problems(model, answers, functions, weights=None):
    """List what differs by more than rounding explains.

    Args:
        model: the `keras.Model` that was exported.
        answers: list of `keras_moe.export.answers.Answer`.
        functions: dict from signature name to function, from
            `make_live_functions`.
        weights: `None` or `"int8"`, as for `export_saved_model`.

    Returns:
        A list of strings, empty if nothing does.
    """
    exact = weights is None and is_exact(model)
    tie = _largest_tie(answers)
    problems: list[str] = []
    for answer in answers:
        choices, judge = _find_choices(answer)
        rows = np.zeros(0, bool)
        for name in choices:
            differ = _rows_that_differ(answer, name)
            rows = differ | rows if rows.size else differ
            problems += judge(answer, name, differ, functions, tie, exact)
        for name in sorted({*answer.served} - {*choices}):
            served, expected = answer.served[name], answer.expected[name]
            if len(np.atleast_1d(served)) == len(rows):
                served, expected = served[~rows], expected[~rows]
            cause = describe_difference(served, expected, exact)
            if cause:
                problems.append(f"{answer.signature}, {name}: {cause}")
    return problems


def describe_difference(served, expected, exact):
    """Say how two arrays differ.

    Args:
        served: array.
        expected: array of the same shape.
        exact: bool, whether both were computed in float32 or better.

    Returns:
        A string; `None` if rounding explains the difference.
    """
    if served.size == 0:
        return None
    if not is_float(served):
        share = float(np.mean(served != expected))
        return f"{share:.1%} of it differ" if share and exact else None
    differences = absolute_differences(served, expected)
    finite = np.abs(np.nan_to_num(expected.astype("float64"), posinf=0.0))
    if exact:
        largest = float(differences.max())
        allowed = TOLERANCE * max(1.0, float(finite.max()))
    else:
        largest = float(np.sqrt(np.mean(differences**2)))
        allowed = ROUGH_TOLERANCE * float(np.sqrt(np.mean(finite**2)))
        allowed = max(allowed, TOLERANCE)
    if largest <= allowed:
        return None
    return f"differs by {largest:.1e}, more than {allowed:.1e}"


def _find_choices(answer):
    """Return the outputs that choose, and the function that judges them."""
    if "token_ids" in answer.served and "max_new_tokens" in answer.inputs:
        return ["token_ids"], _judge_tokens
    experts = [x for x in answer.served if x.endswith("routed_experts")]
    return experts, _judge_experts


def _rows_that_differ(answer, name):
    differs = answer.served[name] != answer.expected[name]
    return differs.reshape(len(differs), -1).any(axis=1)


def _judge_experts(answer, name, rows, functions, tie, exact):
    share = float(np.mean(answer.served[name] != answer.expected[name]))
    if share <= (CHOICES if exact else ROUGH_CHOICES):
        return []
    return [f"{answer.signature}, {name}: {share:.1%} of them differ"]


def _judge_tokens(answer, name, rows, functions, tie, exact):
    """Judge the first new token of a row that differs, by the model's logits.

    The most probable token may be another one where two nearly tie. A token
    that is drawn may be another one where the two are neighbours in order of
    probability: the random number fell on their boundary. Where computations
    are rough, boundaries move, and drawn tokens are not judged.
    """
    if not rows.any():
        return []
    served, expected = answer.served[name], answer.expected[name]
    first = (served != expected).argmax(axis=1)
    logits = _logits_before(answer, served, first, functions["serving_default"])
    sampled = np.resize(answer.inputs["temperature"], len(served)) > 0
    problems = []
    for row in np.flatnonzero(rows):
        two = [int(served[row, first[row]]), int(expected[row, first[row]])]
        gap = float(np.ptp(logits[row][two]))
        order = np.argsort(-logits[row], kind="stable")
        ranks = np.argsort(order)[two]
        if gap <= tie:
            continue
        if sampled[row] and (not exact or abs(ranks[0] - ranks[1]) <= 1):
            continue
        problems.append(
            f"{answer.signature}, {name}: row {row} has token {two[0]} at "
            f"position {first[row]} where the model has {two[1]}; their "
            f"logits differ by {gap:.1e}"
        )
    return problems


def _logits_before(answer, token_ids, positions, run_model):
    """Return the model's logits (B, V) of the token at each row's position."""
    places = np.arange(token_ids.shape[1])
    mask = (places < np.maximum(positions, 1)[:, None]).astype("int32")
    prefix = "decoder_" if "decoder_token_ids" in answer.inputs else ""
    context = {
        name: answer.inputs[name]
        for name in ("encoder_token_ids", "encoder_padding_mask")
        if name in answer.inputs
    }
    inputs = {f"{prefix}token_ids": token_ids, f"{prefix}padding_mask": mask}
    (logits,) = run_model({**context, **inputs}).values()
    last = np.maximum(positions, 1) - 1
    return logits[np.arange(len(logits)), last].astype("float64")


def _largest_tie(answers):
    """Return how near two logits are that rounding may put the other way."""
    largest = 0.0
    for answer in answers:
        if answer.signature == "serving_default":
            for name, served in answer.served.items():
                expected = answer.expected[name]
                scale = np.abs(expected.astype("float64")).max(initial=1.0)
                each = absolute_differences(served, expected).max(initial=0.0)
                largest = max(largest, TOLERANCE / TIE * scale, each)
    return TIE * largest
