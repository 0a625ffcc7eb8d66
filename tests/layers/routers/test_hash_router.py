"""Routing by token id."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_moe.layers import HashRouter
from keras_moe.layers import SparseMoE

VOCABULARY, EXPERTS, LENGTH, HIDDEN = 500, 4, 6, 5


def test_the_table_has_different_experts_in_equal_numbers():
    router = HashRouter(EXPERTS, 3, vocabulary_size=VOCABULARY)
    router.build((None, None, HIDDEN))
    table = ops.convert_to_numpy(router.table.value)
    assert table.shape == (VOCABULARY, 3)
    assert all(len(set(row)) == 3 for row in table.tolist())
    for choice in range(3):
        # 500 draws with p = 1/4: a standard deviation of 9.7.
        counts = np.bincount(table[:, choice], minlength=EXPERTS)
        assert np.all(np.abs(counts - 125) < 45)


def test_a_token_has_the_experts_of_its_id_each_with_an_equal_weight(draw):
    router = HashRouter(EXPERTS, 2, vocabulary_size=VOCABULARY)
    # Padding may have any id; ids beyond the table start it again.
    token_ids = np.array([[3, 499, 3, VOCABULARY + 3, -1, 7]], "int32")
    mask = np.array([[True, True, True, True, False, True]])
    inputs = draw(1, LENGTH, HIDDEN)
    plan = router(inputs, padding_mask=mask, token_ids=token_ids)
    table = ops.convert_to_numpy(router.table.value)
    expected = table[token_ids % VOCABULARY]
    expected[~mask] = EXPERTS
    np.testing.assert_array_equal(
        ops.convert_to_numpy(plan.expert_indices), expected
    )
    weights = np.broadcast_to(0.5 * mask[..., None], expected.shape)
    np.testing.assert_array_equal(
        ops.convert_to_numpy(plan.combine_weights), weights
    )
    counts = np.bincount(expected[mask].ravel(), minlength=EXPERTS)
    np.testing.assert_array_equal(
        ops.convert_to_numpy(plan.tokens_per_expert), [counts]
    )


def test_ids_are_an_input_of_a_functional_model_and_the_table_is_saved(
    draw, tmp_path
):
    tokens = keras.Input((LENGTH, HIDDEN))
    token_ids = keras.Input((LENGTH,), dtype="int32")
    router = HashRouter(EXPERTS, vocabulary_size=VOCABULARY, seed=5)
    layer = SparseMoE(EXPERTS, 3, router=router)
    model = keras.Model([tokens, token_ids], layer(tokens, token_ids=token_ids))
    table = np.arange(VOCABULARY, dtype="int32")[:, None] % EXPERTS
    router.table.assign(table)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    x = [draw(2, LENGTH, HIDDEN), np.arange(12, dtype="int32").reshape(2, 6)]
    expected = ops.convert_to_numpy(model(x))
    np.testing.assert_allclose(
        ops.convert_to_numpy(loaded(x)), expected, rtol=1e-5, atol=1e-6
    )
    # Rank 2: ids of shape (T,).
    flat = layer(x[0].reshape(12, HIDDEN), token_ids=x[1].reshape(12))
    np.testing.assert_allclose(
        ops.convert_to_numpy(flat), expected.reshape(12, HIDDEN), atol=1e-6
    )


@pytest.mark.once
def test_missing_ids_and_sizes_are_refused(draw):
    router = HashRouter(EXPERTS, vocabulary_size=VOCABULARY)
    with pytest.raises(ValueError, match="token_ids=token_ids"):
        router(draw(1, LENGTH, HIDDEN))
    with pytest.raises(ValueError, match="`vocabulary_size` to be a positive"):
        HashRouter(EXPERTS, vocabulary_size=0)
    with pytest.raises(ValueError, match="`top_k` to be at most"):
        HashRouter(EXPERTS, 5, vocabulary_size=VOCABULARY)
