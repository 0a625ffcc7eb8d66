"""The published sizes of DeepSeek-V3 and Kimi K2."""

import pytest

from keras_moe.models.deepseek_v3 import DEEPSEEK_V3_PRESETS
from keras_moe.models.deepseek_v3 import DeepSeekV3Backbone
from keras_moe.models.parameter_counts import parameter_counts

# Counting builds a model of published size, without memory.
pytestmark = pytest.mark.sweep


def counts_of(name):
    return parameter_counts(DeepSeekV3Backbone, **DEEPSEEK_V3_PRESETS[name])


@pytest.mark.parametrize(
    ("name", "heads", "experts", "dense_layers", "vocabulary"),
    [
        ("deepseek_v3", 128, 256, 3, 129_280),
        ("kimi_k2", 64, 384, 1, 163_840),
    ],
)
def test_totals_are_the_sums_of_the_parts(
    name, heads, experts, dense_layers, vocabulary
):
    attention = (
        (7168 * 1536 + 1536 + 1536 * heads * (128 + 64))  # queries
        + (7168 * (512 + 64) + 512 + 512 * heads * (128 + 128))
        + heads * 128 * 7168
    )
    expert = 3 * 7168 * 2048
    norms = 2 * 7168
    router = experts * 7168 + experts  # kernel and bias
    sparse = attention + norms + router + (experts + 1) * expert
    dense = attention + norms + 3 * 7168 * 18_432
    layers = (61 - dense_layers) * sparse + dense_layers * dense
    counts = counts_of(name)
    assert counts.total == layers + 2 * vocabulary * 7168 + 7168
    unused = (61 - dense_layers) * (experts - 8) * expert
    assert counts.total - counts.active == unused
    assert counts.cache_bytes_per_token == 2 * 61 * (512 + 64)


def test_deepseek_v3_has_671b_parameters_of_which_37b_are_active():
    counts = counts_of("deepseek_v3")
    # Without the layer that predicts one token further, as the paper counts.
    assert counts.total == 671_026_419_200
    assert counts.active == 37_552_297_472


def test_kimi_k2_has_a_trillion_parameters_of_which_32b_are_active():
    counts = counts_of("kimi_k2")
    assert counts.total == 1_026_408_232_448
    assert counts.active == 32_861_500_928
