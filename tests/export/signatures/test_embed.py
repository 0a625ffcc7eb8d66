"""Embeddings against the backbone's outputs."""

import numpy as np
import pytest

from tests.export.signatures.answers import LENGTHS
from tests.export.signatures.answers import answer
from tests.export.signatures.answers import make_model
from tests.export.signatures.answers import make_tokens
from tests.models.small_backbones import make_task


@pytest.mark.sweep(first=1)
@pytest.mark.parametrize("case", ["window", "classifier", "encoder_decoder"])
def test_an_embedding_is_the_mean_of_the_last_hidden_states(case):
    if case == "classifier":
        model = make_task("switch_classifier", num_layers=1)
    else:
        model = make_model(case)
    tokens = make_tokens(make_model("grouped"))
    inputs = tokens
    if case == "encoder_decoder":
        inputs = {f"encoder_{name}": tokens[name] for name in tokens}
        inputs["decoder_token_ids"] = np.zeros((5, 1), "int32")
        inputs["decoder_padding_mask"] = np.ones((5, 1), "int32")
    hidden = model.backbone.predict_on_batch(inputs)
    if isinstance(hidden, dict):
        hidden = hidden["encoder_sequence_output"]
    found = answer(model, "embed", tokens)["embeddings"]
    expected = [hidden[i, :n].mean(axis=0) for i, n in enumerate(LENGTHS)]
    assert found.dtype == "float32"
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.once
def test_half_precision_is_averaged_in_float32():
    model = make_task("mixtral", dtype="mixed_bfloat16")
    tokens = make_tokens(model)
    assert answer(model, "embed", tokens)["embeddings"].dtype == "float32"


@pytest.mark.once
def test_a_row_without_tokens_is_0():
    model = make_task("mixtral", num_layers=1)
    tokens = make_tokens(model, lengths=np.array([0, 2]))
    found = answer(model, "embed", tokens)["embeddings"]
    assert np.all(found[0] == 0) and np.any(found[1] != 0)
