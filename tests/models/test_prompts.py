"""Where prompts begin and end, by their masks."""

import numpy as np
import pytest

from keras_moe.models.prompts import Prompts
from keras_moe.models.prompts import check_token_ids
from keras_moe.models.prompts import to_arrays

pytestmark = pytest.mark.once

# Padded on the right, the left, both sides, nowhere. Padding of all kinds.
TOKEN_IDS = np.array(
    [[3, 4, 5, 9, 9], [-1, 99, 3, 4, 5], [0, 3, 4, 5, 7], [3, 4, 5, 6, 7]]
)
MASK = np.array(
    [[1, 1, 1, 0, 0], [0, 0, 1, 1, 1], [0, 1, 1, 1, 0], [1, 1, 1, 1, 1]]
)


def test_every_prompt_begins_at_position_0():
    prompts = Prompts(TOKEN_IDS, MASK, vocabulary_size=10)
    assert prompts.token_ids[:, :3].tolist() == [[3, 4, 5]] * 4
    lengths = [3, 3, 3, 5]
    expected = np.arange(5) < np.array(lengths)[:, None]
    np.testing.assert_array_equal(prompts.padding_mask, expected)


def test_padding_outside_of_the_vocabulary_reaches_no_embedding():
    prompts = Prompts(TOKEN_IDS, MASK, vocabulary_size=10)
    assert prompts.token_ids.min() >= 0
    assert prompts.token_ids.max() < 10


def test_new_tokens_come_right_after_the_prompt():
    prompts = Prompts(TOKEN_IDS, MASK, vocabulary_size=10)
    generated = prompts.token_ids.copy()
    generated[:3, 3:] = 8
    mask = np.ones_like(generated, bool)
    mask[0, 4] = False  # It stopped.
    token_ids, mask = prompts.put_back(generated, mask)
    expected = [[3, 4, 5, 8, 8], [-1, 99, 3, 4, 5], [0, 3, 4, 5, 8]]
    assert token_ids[:3].tolist() == expected
    assert token_ids[3].tolist() == TOKEN_IDS[3].tolist()
    assert mask.astype(int).tolist() == [
        [1, 1, 1, 1, 0],
        [0, 0, 1, 1, 1],
        [0, 1, 1, 1, 1],
        [1, 1, 1, 1, 1],
    ]


def test_without_the_prompt_new_tokens_come_first():
    prompts = Prompts(TOKEN_IDS, MASK, vocabulary_size=10)
    generated = prompts.token_ids.copy()
    generated[:3, 3:] = 8
    token_ids, mask = prompts.strip(generated, np.ones_like(generated, bool))
    # The second row has no room after its prompt.
    assert mask.sum(axis=1).tolist() == [2, 0, 1, 0]
    assert token_ids[mask].tolist() == [8, 8, 8]
    assert mask[:, 0].tolist() == [True, False, True, False]


def test_a_start_token_that_looks_like_padding_counts():
    mask = np.array([[0, 1, 0], [0, 0, 0]])
    prompts = Prompts(np.array([[0, 5, 0], [0, 0, 0]]), mask, 9, "ids", True)
    assert prompts.padding_mask.astype(int).tolist() == [[1, 1, 0], [1, 0, 0]]


def test_an_empty_prompt_is_refused_by_its_row():
    mask = np.array([[1, 0], [0, 0]])
    with pytest.raises(ValueError, match=r"Received: row 1,.*start token"):
        Prompts(np.zeros((2, 2), int), mask, 9)


@pytest.mark.parametrize("row", [[1, 0, 1, 0], [0, 1, 0, 1], [1, 0, 0, 1]])
def test_a_hole_in_a_prompt_is_refused_by_its_row(row):
    mask = np.array([[1, 1, 0, 0], row])
    with pytest.raises(ValueError, match=r"row 1, padding_mask=\[[01, ]+\]"):
        Prompts(np.zeros((2, 4), int), mask, 9)


@pytest.mark.parametrize("token_id", [-1, 9])
def test_a_token_outside_of_the_vocabulary_is_refused_by_its_place(token_id):
    token_ids = np.array([[1, 2], [8, token_id]])
    message = f"9 tokens. Received: token id {token_id} in row 1, position 1"
    with pytest.raises(ValueError, match=message):
        check_token_ids(token_ids, 9)
    with pytest.raises(ValueError, match=message):
        Prompts(token_ids, np.ones((2, 2)), 9)
    check_token_ids(token_ids, 9, np.array([[True, True], [True, False]]))


@pytest.mark.parametrize("shapes", [((4,), (4,)), ((2, 4), (2, 3))])
def test_shapes_must_be_of_a_batch(shapes):
    with pytest.raises(ValueError, match="one shape"):
        to_arrays(*map(np.zeros, shapes))
