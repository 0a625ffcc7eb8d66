"""All analyses of a model, on every backend."""

import json

import keras
import numpy as np
import pytest

from keras_moe.analysis import analyze
from keras_moe.analysis import make_report
from keras_moe.layers import ExpertChoiceRouter
from keras_moe.models import RoutedExperts
from keras_moe.routing import Capacity
from tests.models.small_backbones import ALL
from tests.models.small_backbones import make_task

TEXTS = {"up": np.arange(18) % 12, "down": np.arange(18)[::-1] % 12}
WINDOW = 6


def test_the_record_is_that_of_the_choices():
    keras.utils.set_random_seed(1)
    model = make_task("mixtral", router={"capacity": Capacity(0.5)})
    texts = {**TEXTS, "short": [3, 4]}
    # ceil(0.5 * 6 * 2 / 4) = 2 slots.
    found = analyze(model, texts, window=WINDOW, batch_size=4)
    token_ids = np.zeros((7, WINDOW), int)
    token_ids[:6] = np.concatenate([*TEXTS.values()]).reshape(6, WINDOW)
    token_ids[6, :2] = 3, 4
    mask = np.ones_like(token_ids)
    mask[6, 2:] = 0
    routed = RoutedExperts(model).predict_on_batch(
        {"token_ids": token_ids, "padding_mask": mask}
    )
    routed = np.where(routed < 4, routed, -1)
    np.testing.assert_array_equal(found.routed_experts, routed)
    assert found.texts == ["up", "down", "short"]
    assert found.text_of_row.tolist() == [0, 0, 0, 1, 1, 1, 2]
    # Two choices of each of the 38 tokens, in both layers.
    assert found.counts.sum((1, 2)).tolist() == [76, 76]
    for index, label in enumerate(found.labels):
        assert label == f"#{found.vocabulary[index]}"
    np.testing.assert_allclose(found.load_by_text.sum(-1), 1, rtol=1e-12)
    assert found.agreement is None
    np.testing.assert_allclose(
        found.dropped, dropped(routed, slots=2), rtol=1e-12
    )
    report = json.loads(json.dumps(make_report(found, "m")))
    assert report["top_k"] == 2
    assert report["token_maps"][2]["experts"] == routed[6, :2, :, 0].T.tolist()


def dropped(routed, slots):
    """Give slots one by one: first choices first, then by position."""
    rows, length, layers, top_k = routed.shape
    lost = np.zeros((layers, length))
    for row, layer in np.ndindex(rows, layers):
        taken = np.zeros(4, int)
        for choice, position in np.ndindex(top_k, length):
            expert = routed[row, position, layer, choice]
            if expert >= 0:
                lost[layer, position] += taken[expert] >= slots
                taken[expert] += 1
    # (B, L, layers, K) -> (layers, L)
    return lost / (routed >= 0).sum((0, 3)).T


@pytest.mark.once
def test_drops_can_be_shown_of_another_capacity():
    model = make_task("mixtral")
    assert not analyze(model, TEXTS, window=WINDOW).dropped.any()
    found = analyze(model, TEXTS, window=WINDOW, capacity_factor=1.0)
    # ceil(1.0 * 6 * 2 / 4) = 3
    np.testing.assert_allclose(
        found.dropped, dropped(found.routed_experts, slots=3), rtol=1e-12
    )
    assert found.dropped.any()


@pytest.mark.sweep(first=1)
@pytest.mark.parametrize("family", ["switch", *sorted({*ALL} - {"switch"})])
def test_every_family_is_analyzed(family):
    model = make_task(family)
    found = analyze(model, TEXTS, window=WINDOW)
    layers = len(found.layer_names)
    assert layers >= 1
    assert found.routed_experts.shape[:3] == (6, WINDOW, layers)
    assert found.load.shape == (layers, found.num_experts)
    # Of an encoder and a decoder, the encoder's.
    assert not any("decoder" in name for name in found.layer_names) or (
        "switch" not in family
    )


@pytest.mark.once
def test_long_texts_are_read_in_evenly_spaced_windows():
    model = make_task("mixtral")
    texts = {"long": np.arange(90) % 48}
    found = analyze(model, texts, window=WINDOW, max_tokens=13)
    assert found.token_ids[:, 0].tolist() == [0, 84 % 48]


@pytest.mark.once
def test_what_cannot_be_analyzed_is_refused():
    model = make_task("mixtral")
    for texts, words in (
        ({}, "one text or more"),
        ({"a": []}, "'a', which is empty"),
        ({"a": [48]}, "from 0 to 47"),
        ({"a": "text"}, "Give token ids in place of text"),
        ({"a": [1, 2]}, "shorter windows"),
    ):
        with pytest.raises(ValueError, match=words):
            analyze(model, texts)
    dense = make_task("qwen3_moe", dense_layers=[0, 1])
    with pytest.raises(ValueError, match="with sparse layers"):
        analyze(dense, TEXTS)
    with pytest.raises(ValueError, match="reads token ids"):
        analyze(keras.Sequential(), TEXTS)


@pytest.mark.once
def test_routers_in_which_experts_choose_are_refused():
    model = make_task(
        "switch_classifier", router=ExpertChoiceRouter(num_experts=4)
    )
    with pytest.raises(ValueError, match="tokens choose"):
        analyze(model, TEXTS, window=WINDOW)
