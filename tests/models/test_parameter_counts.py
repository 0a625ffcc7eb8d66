"""Sizes computed from configurations."""

import keras
import pytest

from keras_moe.models import MixtralBackbone
from keras_moe.models import MixtralCausalLM
from keras_moe.models import parameter_counts

SMALL = {
    "vocabulary_size": 48,
    "num_layers": 4,
    "num_query_heads": 4,
    "num_key_value_heads": 2,
    "hidden_dim": 16,
    "intermediate_dim": 24,
    "num_experts": 4,
    "top_k": 2,
}


@pytest.mark.sweep(first=2)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"head_dim": 6},
        {"expert_layer_stride": 2, "dense_intermediate_dim": 40},
        {"tie_embedding_weights": True},
        {"top_k": 1, "num_experts": 5},
    ],
    ids=str,
)
def test_total_equals_the_weights_of_the_model(changes):
    model = MixtralCausalLM(MixtralBackbone(**{**SMALL, **changes}))
    assert parameter_counts(model).total == model.count_params()


def test_active_leaves_out_the_experts_not_chosen():
    counts = parameter_counts(MixtralBackbone, **SMALL)
    one_expert = 3 * 16 * 24
    assert counts.total - counts.active == 4 * (4 - 2) * one_expert


def test_flops_are_twice_the_weights_that_a_token_meets():
    counts = parameter_counts(MixtralBackbone, **SMALL)
    # The embedding is looked up and the norms are no products: only the head
    # counts, once of twice 48 * 16, and 9 norms of 16 do not.
    products = counts.active - 48 * 16 - 9 * 16
    assert counts.flops_per_token == 2 * products


def test_published_sizes():
    counts = parameter_counts("mixtral_8x7b")
    assert counts.total == 46_702_792_704
    assert round(counts.active / 1e9, 1) == 12.9
    counts = parameter_counts("mixtral_8x22b")
    assert round(counts.total / 1e9) == 141
    assert round(counts.active / 1e9) == 39


def test_arguments_override_a_preset():
    counts = parameter_counts("mixtral_8x7b", num_layers=1)
    assert counts.total < 46_702_792_704 / 20


def test_unknown_presets_list_the_known_ones():
    with pytest.raises(ValueError, match="mixtral_8x22b.*Received: 'mixtral'"):
        parameter_counts("mixtral")


def test_what_was_counted_is_never_filled(monkeypatch):
    parameter_counts("mixtral_8x7b")

    def fill(self, shape, dtype=None):
        raise AssertionError(f"filled {shape}")

    monkeypatch.setattr(keras.initializers.RandomNormal, "__call__", fill)
    # Keras fills what has no value yet when such a scope ends.
    with keras.StatelessScope():
        pass
