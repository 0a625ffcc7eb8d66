"""Scores of known tokens against the model's logits, in NumPy."""

import numpy as np
import pytest
from keras import ops

from tests.models import small_backbones


@pytest.fixture(scope="module")
def model():
    # Grok-1 multiplies its embeddings and logits.
    model = small_backbones.make_task(
        "grok1", num_layers=1, embedding_multiplier=3.0
    )
    rng = np.random.default_rng(0)
    for weight in model.trainable_weights:
        weight.assign(rng.normal(scale=0.4, size=weight.shape))
    return model


@pytest.fixture(scope="module")
def token_ids():
    return np.random.default_rng(1).integers(1, 48, (2, 6)).astype("int32")


@pytest.fixture(scope="module")
def logits(model, token_ids):
    mask = np.ones_like(token_ids)
    inputs = {"token_ids": token_ids, "padding_mask": mask}
    return model.predict_on_batch(inputs)


@pytest.mark.sweep
def test_logits_are_the_models(model, token_ids, logits):
    scores = ops.convert_to_numpy(model.score(token_ids))
    np.testing.assert_allclose(scores, logits, rtol=1e-4, atol=1e-4)


@pytest.mark.sweep
def test_losses_are_negative_log_probabilities(model, token_ids, logits):
    targets = np.roll(token_ids, -1, axis=1)
    losses = model.score(token_ids, scoring_mode="loss", target_ids=targets)
    exact = logits.astype("float64")
    log_probs = exact - np.log(np.exp(exact).sum(-1, keepdims=True))
    expected = -np.take_along_axis(log_probs, targets[..., None], -1)[..., 0]
    np.testing.assert_allclose(
        ops.convert_to_numpy(losses), expected, rtol=1e-4, atol=1e-4
    )


@pytest.mark.sweep
def test_padding_is_hidden(model, token_ids, logits):
    mask = np.ones_like(token_ids)
    mask[1, 4:] = 0
    hidden = np.where(mask, token_ids, 1000)
    scores = ops.convert_to_numpy(model.score(hidden, mask))
    np.testing.assert_allclose(scores[1, :4], logits[1, :4], atol=1e-3)


@pytest.mark.sweep
def test_layers_can_be_intercepted(model, token_ids):
    seen = []

    def intercept(x, index):
        seen.append((index, tuple(x.shape)))
        return ops.zeros_like(x) if index == 0 else x

    scores = model.score(token_ids, layer_intercept_fn=intercept)
    assert seen == [(-1, (2, 6, 16)), (0, (2, 6, 16))]
    # A norm of zeros, whose logits are zero.
    np.testing.assert_array_equal(ops.convert_to_numpy(scores), 0.0)


@pytest.mark.sweep
def test_the_embedding_is_intercepted_before_it_is_multiplied(model, token_ids):
    table = ops.convert_to_numpy(model.backbone.token_embedding.embeddings)

    def intercept(x, index):
        if index == -1:
            found = ops.convert_to_numpy(x)
            np.testing.assert_array_equal(found, table[token_ids])
        return x

    model.score(token_ids, layer_intercept_fn=intercept)


def test_what_cannot_be_scored_is_refused(model, token_ids):
    with pytest.raises(ValueError, match="scoring_mode='perplexity'"):
        model.score(token_ids, scoring_mode="perplexity")
    with pytest.raises(ValueError, match="Expected `target_ids`"):
        model.score(token_ids, scoring_mode="loss")
    with pytest.raises(ValueError, match="token id 48 in row 1, position 5"):
        model.score(np.array([[1] * 6, [1] * 5 + [48]]))
