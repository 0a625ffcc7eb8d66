"""What comes without a batch dimension goes without one."""

import numpy as np
import pytest

from keras_moe.models.prompt_batches import as_batches
from keras_moe.models.prompt_batches import join_batches

pytestmark = pytest.mark.once


def test_single_texts_get_a_batch_and_lose_it():
    assert as_batches("one", True) == ([["one"]], True)
    assert join_batches([["ONE"]], True) == "ONE"
    batches, is_single = as_batches({"a": "one", "b": "two"}, True)
    assert (batches, is_single) == ([{"a": ["one"], "b": ["two"]}], True)
    assert join_batches([{"a": ["ONE"]}], True) == {"a": "ONE"}


def test_single_tensors_of_text_get_a_batch():
    import tensorflow as tf

    for text in (np.array("one"), tf.constant("one")):
        (batch,), is_single = as_batches(text, True)
        assert is_single
        assert tuple(batch.shape) == (1,)


def test_a_users_dictionary_stays_as_it_is():
    inputs = {"a": "one"}
    as_batches(inputs, True)
    assert inputs == {"a": "one"}


def test_batches_and_datasets_are_joined():
    import tensorflow as tf

    assert as_batches(["one", "two"], True) == ([["one", "two"]], False)
    dataset = tf.data.Dataset.from_tensor_slices(["a", "b", "c"]).batch(2)
    batches, is_single = as_batches(dataset, True)
    assert [each.tolist() for each in batches] == [[b"a", b"b"], [b"c"]]
    assert join_batches([["A", "B"], ["C"]], is_single) == ["A", "B", "C"]


def test_arrays_without_a_preprocessor_are_a_batch():
    inputs = {"token_ids": np.arange(6).reshape(2, 3)}
    batches, is_single = as_batches(inputs, False)
    assert batches[0] is inputs
    joined = join_batches([{"ids": np.ones((2, 3))}] * 2, is_single)
    assert joined["ids"].shape == (4, 3)
