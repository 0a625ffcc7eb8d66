"""Log-probabilities against those of the whole model."""

import numpy as np
import pytest

from tests.export.signatures.answers import LENGTHS
from tests.export.signatures.answers import answer
from tests.export.signatures.answers import make_model
from tests.export.signatures.answers import make_tokens
from tests.export.signatures.answers import rows_of


@pytest.mark.sweep(first=1)
@pytest.mark.parametrize("case", ["window", "latent", "encoder_decoder"])
def test_tokens_are_scored_given_those_before(case):
    model = make_model(case)
    tokens = make_tokens(model)
    outputs = answer(model, "score", tokens)
    assert [*outputs] == ["log_probabilities"]
    found = outputs["log_probabilities"]
    logits = model.predict_on_batch(tokens).astype("float64")
    logits -= logits.max(axis=-1, keepdims=True)
    scores = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    token_ids = tokens[f"{model.prompt_prefix}token_ids"]
    expected = np.zeros(token_ids.shape)
    for row, length in enumerate(LENGTHS):
        for position in range(1, length):
            token = token_ids[row, position]
            expected[row, position] = scores[row, position - 1, token]
    assert expected.min() < -1.0
    # Logits of size 10 whose sums err by some 1e-5.
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert found.dtype == "float32"
    assert np.all(found[expected == 0] == 0)


@pytest.mark.sweep
def test_a_row_is_scored_as_if_it_were_alone():
    model = make_model("window")
    tokens = make_tokens(model)
    expected = answer(model, "score", tokens)["log_probabilities"]
    for row, length in enumerate(LENGTHS):
        alone = rows_of(tokens, slice(row, row + 1))
        size = max(length, 2)
        alone = {name: each[:, :size] for name, each in alone.items()}
        found = answer(model, "score", alone)["log_probabilities"]
        np.testing.assert_allclose(
            found[0], expected[row, :size], rtol=1e-4, atol=1e-4
        )
