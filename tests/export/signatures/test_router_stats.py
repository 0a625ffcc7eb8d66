"""Experts and their load against what the model records."""

import numpy as np
import pytest

from keras_moe.export.signatures import signatures_of
from keras_moe.layers import ExpertChoiceRouter
from keras_moe.layers import TopPRouter
from keras_moe.models import RoutedExperts
from keras_moe.models import SwitchBackbone
from keras_moe.models import SwitchClassifier
from tests.export.signatures.answers import LENGTHS
from tests.export.signatures.answers import answer
from tests.export.signatures.answers import make_model
from tests.export.signatures.answers import make_tokens
from tests.models.small_backbones import SWITCH
from tests.models.small_backbones import make_task

EXPERTS = 4


def loads_by_hand(experts):
    """Count choices (B, L, layers, K) that are not -1."""
    counts = np.stack(
        [np.sum(experts == each, axis=(1, 3)) for each in range(EXPERTS)],
        axis=-1,
    )
    return counts / np.maximum(counts.sum(axis=-1, keepdims=True), 1)


@pytest.mark.sweep(first=1)
@pytest.mark.parametrize(
    ("family", "num_layers"),
    [("mixtral", 1), ("mixtral", 2), ("switch_classifier", 2)],
)
def test_experts_are_those_that_the_model_records(family, num_layers):
    model = make_task(family, num_layers=num_layers)
    tokens = make_tokens(model, np.array([*LENGTHS[:4], 0]))
    outputs = answer(model, "router_stats", tokens)
    experts = outputs["routed_experts"]
    recorded = RoutedExperts(model).predict_on_batch(tokens)
    assert experts.dtype == "int32"
    np.testing.assert_array_equal(
        experts, np.where(recorded == EXPERTS, -1, recorded)
    )
    is_real = tokens["padding_mask"] == 1
    assert np.all((experts >= 0) == is_real[:, :, None, None])
    load = outputs["expert_load"]
    assert load.dtype == "float32"
    # Shares of a few tokens, rounded once.
    np.testing.assert_allclose(load, loads_by_hand(experts), rtol=1e-6)
    assert np.all(load[4] == 0)  # No token.


@pytest.mark.sweep
def test_encoder_and_decoder_have_their_own():
    model = make_model("encoder_decoder")
    tokens = make_tokens(model)
    outputs = answer(model, "router_stats", tokens)
    recorded = RoutedExperts(model).predict_on_batch(tokens)
    for name, experts in recorded.items():
        np.testing.assert_array_equal(
            outputs[name], np.where(experts == EXPERTS, -1, experts)
        )
    loads = loads_by_hand(outputs["encoder_routed_experts"])
    np.testing.assert_allclose(outputs["encoder_expert_load"], loads, rtol=1e-6)
    assert len(outputs) == 4


@pytest.mark.once
def test_a_choice_that_a_token_does_without_is_none():
    router = TopPRouter(num_experts=EXPERTS, top_k=3, top_p=0.4)
    model = make_task("mixtral", num_layers=1, router=router)
    outputs = answer(model, "router_stats", make_tokens(model))
    experts = outputs["routed_experts"]
    assert experts.shape[-1] == 3
    assert np.any((experts[..., 0] >= 0) & (experts[..., 2] < 0))
    np.testing.assert_allclose(
        outputs["expert_load"], loads_by_hand(experts), rtol=1e-6
    )


@pytest.mark.once
def test_experts_that_choose_tokens_are_not_told():
    backbone = SwitchBackbone(
        **{**SWITCH, "num_decoder_layers": 0},
        router=ExpertChoiceRouter(EXPERTS),
    )
    model = SwitchClassifier(backbone, num_classes=2)
    assert [*signatures_of(model)] == ["embed"]
