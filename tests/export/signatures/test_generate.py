"""Continuations against a loop over the whole model, without a cache."""

import keras
import numpy as np
import pytest

from tests.export.signatures import random_oracle
from tests.export.signatures.answers import LENGTH
from tests.export.signatures.answers import LENGTHS
from tests.export.signatures.answers import answer
from tests.export.signatures.answers import answer_traced
from tests.export.signatures.answers import make_model
from tests.export.signatures.answers import make_tokens
from tests.export.signatures.answers import rows_of
from tests.models.small_backbones import DECODERS
from tests.models.small_backbones import make_task
from tests.models.test_cached_decoder import DROPLESS
from tests.models.test_generative_task import randomize

OPTIONS = {
    "max_new_tokens": np.array([5, 7, 6, 0, 3], "int32"),
    "temperature": np.array([0.0, 1.5, 0.9, 1.0, 2.0], "float32"),
    "top_k": np.array([0, 0, 5, 0, 9], "int32"),
    "top_p": np.array([1.0, 0.8, 1.0, 1.0, 0.9], "float32"),
    "seed": np.array([0, 3, -(2**31), 2, 2**31 - 1], "int32"),
}
SIZE = LENGTH + 7
# Of "window", whichever backend runs: what comes after the prompts.
GOLDEN = [
    [14, 14, 12, 9, 9],
    [5, 42, 32, 41, 30, 18, 18],
    [36, 0, 32, 8, 42, 13],
    [],
    [3, 41, 32],
]
CASES = ["window", "grouped", "latent", "encoder_decoder"]
_made: dict = {}


def made(case):
    """A model, a request and the expected tokens; made once."""
    if case not in _made:
        model = make_model(case)
        request = {**make_tokens(model), **OPTIONS}
        _made[case] = model, request, generate_by_hand(model, request)
    return _made[case]


def generate_by_hand(model, request):
    """Run the whole model for each token, and draw in NumPy."""
    prefix = model.prompt_prefix
    tokens = {key: request[key] for key in make_tokens(model)}
    ids, mask = f"{prefix}token_ids", f"{prefix}padding_mask"
    room = ((0, 0), (0, SIZE - LENGTH))
    tokens[ids], tokens[mask] = (
        np.pad(tokens[each], room) for each in (ids, mask)
    )
    lengths = LENGTHS.copy()
    ends = LENGTHS + OPTIONS["max_new_tokens"]
    wishes = [OPTIONS[each] for each in ("temperature", "top_k", "top_p")]
    while np.any(lengths < ends):
        logits = model.predict_on_batch(tokens)
        for row in np.flatnonzero(lengths < ends):
            token, margin = random_oracle.choose_token(
                logits[row, lengths[row] - 1],
                *(each[row] for each in wishes),
                int(OPTIONS["seed"][row]),
                int(lengths[row]),
            )
            assert margin > 1e-4  # Far more than float32 errs.
            tokens[ids][row, lengths[row]] = token
            tokens[mask][row, lengths[row]] = 1
            lengths[row] += 1
    return tokens[ids]


def assert_answers(outputs, expected, lengths):
    size = expected.shape[1]
    mask = np.arange(size) < np.asarray(lengths)[:, None]
    np.testing.assert_array_equal(outputs["lengths"], lengths)
    np.testing.assert_array_equal(outputs["padding_mask"], mask)
    np.testing.assert_array_equal(
        outputs["token_ids"], np.where(mask, expected, 0)
    )
    assert {str(each.dtype) for each in outputs.values()} == {"int32"}


@pytest.mark.sweep(first=1)
@pytest.mark.parametrize("case", CASES)
def test_every_row_is_continued_as_it_wishes(case):
    model, request, expected = made(case)
    ends = LENGTHS + OPTIONS["max_new_tokens"]
    assert_answers(answer(model, "generate", request), expected, ends)


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="of TensorFlow's graphs"
)
@pytest.mark.sweep(first=1)
@pytest.mark.parametrize("case", CASES)
def test_a_graph_of_open_shapes_answers_the_same(case):
    model, request, expected = made(case)
    ends = LENGTHS + OPTIONS["max_new_tokens"]
    call = answer_traced(model, "generate")
    assert_answers(call(request), expected, ends)
    # Another batch size, other lengths, and the defaults for all rows.
    row = {key: each[:1] for key, each in make_tokens(model).items()}
    for key in (
        f"{model.prompt_prefix}{x}" for x in ("token_ids", "padding_mask")
    ):
        row[key] = row[key][:, :4]
    outputs = call({**row, "max_new_tokens": [5]})
    assert_answers(outputs, expected[:1, :9], ends[:1])
    assert call(row)["lengths"].tolist() == [4 + 64]


def test_tokens_are_the_same_on_all_backends():
    expected = made("window")[2]
    ends = LENGTHS + OPTIONS["max_new_tokens"]
    assert GOLDEN == [
        row[start:end].tolist()
        for row, start, end in zip(expected, LENGTHS, ends, strict=True)
    ]


@pytest.mark.sweep
@pytest.mark.parametrize("case", CASES)
def test_a_row_does_not_see_the_others(case):
    model, request, expected = made(case)
    for row in range(3):
        alone = rows_of(request, slice(row, row + 1))
        outputs = answer(model, "generate", alone)
        end = LENGTHS[row] + OPTIONS["max_new_tokens"][row]
        size = LENGTH + OPTIONS["max_new_tokens"][row]
        assert_answers(outputs, expected[row : row + 1, :size], [end])


@pytest.mark.sweep
@pytest.mark.parametrize("case", CASES)
def test_a_text_goes_on_where_a_request_has_ended(case):
    model, request, expected = made(case)
    prefix = model.prompt_prefix
    some = np.minimum(OPTIONS["max_new_tokens"], [2, 3, 4, 1, 2])
    first = answer(model, "generate", {**request, "max_new_tokens": some})
    rest = {
        **request,
        f"{prefix}token_ids": first["token_ids"],
        f"{prefix}padding_mask": first["padding_mask"],
        "max_new_tokens": OPTIONS["max_new_tokens"] - some,
    }
    outputs = answer(model, "generate", rest)
    ends = LENGTHS + OPTIONS["max_new_tokens"]
    size = outputs["token_ids"].shape[1]
    wide = np.pad(expected, ((0, 0), (0, max(0, size - SIZE))))[:, :size]
    assert_answers(outputs, wide, ends)


@pytest.mark.sweep
def test_a_stop_token_ends_its_own_row():
    model, request, expected = made("grouped")
    # The second new token of row 0, the third of row 2; none of row 1, which
    # has both of row 0's as stop tokens of another row.
    stops = np.full((5, 2), -1, "int32")
    stops[0, 1] = expected[0, LENGTHS[0] + 1]
    stops[2] = expected[2, LENGTHS[2] + 2], 47
    request = {**request, "stop_token_ids": stops}
    ends = LENGTHS + OPTIONS["max_new_tokens"]
    for row in (0, 2):
        new = expected[row, LENGTHS[row] : ends[row]].tolist()
        first = min(new.index(each) for each in stops[row] if each in new)
        ends[row] = LENGTHS[row] + first + 1
    assert ends[0] == LENGTHS[0] + 2
    assert_answers(answer(model, "generate", request), expected, ends)
    # A stop token within the prompt ends nothing.
    in_prompt = request["token_ids"][:, :1]
    outputs = answer(
        model, "generate", {**request, "stop_token_ids": in_prompt}
    )
    assert np.all(outputs["lengths"][[0, 1, 2, 4]] > LENGTHS[[0, 1, 2, 4]])


@pytest.mark.sweep
@pytest.mark.parametrize("case", ["window", "encoder_decoder"])
def test_greedy_rows_are_those_of_the_model_itself(case):
    model, _, _ = made(case)
    tokens = make_tokens(model)
    prefix = model.prompt_prefix
    outputs = answer(model, "generate", {**tokens, "max_new_tokens": [4]})
    room = ((0, 0), (0, 4))
    whole = dict(tokens)
    for name in (f"{prefix}token_ids", f"{prefix}padding_mask"):
        whole[name] = np.pad(tokens[name], room)
    theirs = model.generate(whole, stop_token_ids=None)
    # They fill the whole length, ours four places behind each prompt.
    assert_answers(outputs, theirs[f"{prefix}token_ids"], LENGTHS + 4)


@pytest.mark.once
@pytest.mark.parametrize("family", [*DECODERS, "switch_untied"])
def test_every_family_is_continued(family):
    # A capacity drops other tokens of a whole text than of one at a time.
    changes = {"router": DROPLESS} if family == "switch_untied" else {}
    model = make_task(family, **changes)
    randomize(model.trainable_weights)
    prefix = model.prompt_prefix
    tokens = make_tokens(model, np.array([3, 2]), 3)
    wishes = {"temperature": [0.0], "max_new_tokens": [3]}
    outputs = answer(model, "generate", {**tokens, **wishes})
    ids, mask = f"{prefix}token_ids", f"{prefix}padding_mask"
    for row, length in enumerate([3, 2]):
        alone = rows_of(tokens, slice(row, row + 1))
        alone[ids] = outputs["token_ids"][row : row + 1, :length]
        for position in range(length, length + 3):
            alone[mask] = np.ones_like(alone[ids])
            best = model.predict_on_batch(alone)[0, -1].argmax()
            assert outputs["token_ids"][row, position] == best
            new = np.array([[best]], "int32")
            alone[ids] = np.concatenate([alone[ids], new], axis=1)


@pytest.mark.sweep
def test_what_a_server_lets_through_does_no_harm():
    model, _, _ = made("grouped")
    tokens = make_tokens(model)
    # No room, less than none, no token, unknown tokens, tokens of int64.
    outputs = answer(model, "generate", {**tokens, "max_new_tokens": [-2]})
    assert_answers(outputs, tokens["token_ids"], LENGTHS)
    strange = {
        "token_ids": np.array([[-5, 10**6], [7, 9], [3, 9]]),
        "padding_mask": np.array([[1, 1], [0, 0], [1, 0]]),
        "max_new_tokens": np.array([2, 2, 2]),
        "temperature": np.array([np.nan, -1.0, np.inf]),
        "top_k": np.array([-1, 99, 99]),
        "top_p": np.array([np.nan, 0.0, -1.0]),
    }
    outputs = answer(model, "generate", strange)
    assert outputs["lengths"].tolist() == [4, 3, 3]
    assert outputs["token_ids"][:, 0].tolist() == [0, 7, 3]
    assert outputs["token_ids"][0, 1] == 47  # The nearest.
