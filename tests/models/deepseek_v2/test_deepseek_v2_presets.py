"""The published sizes of DeepSeek-V2."""

import pytest

from keras_moe.models.deepseek_v2 import DEEPSEEK_V2_PRESETS
from keras_moe.models.deepseek_v2 import DeepSeekV2Backbone
from keras_moe.models.parameter_counts import parameter_counts

# Counting builds a model of published size, without memory.
pytestmark = pytest.mark.sweep


def counts_of(name):
    return parameter_counts(DeepSeekV2Backbone, **DEEPSEEK_V2_PRESETS[name])


def test_deepseek_v2_has_236b_parameters_of_which_21b_are_active():
    counts = counts_of("deepseek_v2")
    attention = (
        (5120 * 1536 + 1536 + 1536 * 128 * (128 + 64))  # queries
        + (5120 * (512 + 64) + 512 + 512 * 128 * (128 + 128))
        + 128 * 128 * 5120
    )
    expert = 3 * 5120 * 1536
    norms = 2 * 5120
    sparse = attention + norms + 160 * 5120 + (160 + 2) * expert
    dense = attention + norms + 3 * 5120 * 12_288
    vocabulary = 2 * 102_400 * 5120
    assert counts.total == 59 * sparse + dense + vocabulary + 5120
    assert counts.total == 235_741_434_880  # "236B"
    assert counts.total - counts.active == 59 * (160 - 6) * expert
    assert counts.active == 21_375_800_320  # "21B"


def test_deepseek_v2_lite_has_15_7b_parameters_of_which_2_4b_are_active():
    counts = counts_of("deepseek_v2_lite")
    assert counts.total == 15_706_484_224  # "15.7B"
    assert counts.active == 2_661_150_208
    # The paper's 2.4B leave out the embedding, which is looked up.
    assert counts.active - 102_400 * 2048 == 2_451_435_008


def test_the_cache_is_a_57th_of_that_of_as_many_whole_heads():
    config = DEEPSEEK_V2_PRESETS["deepseek_v2"]
    counts = counts_of("deepseek_v2")
    assert counts.cache_bytes_per_token == 2 * 60 * (512 + 64)
    # Keys and values of 128 heads with 128 features each, the paper's table 1:
    # 1.8 percent of full multi-head attention, as 2.25 groups of grouped-query
    # attention would take.
    heads = config["num_query_heads"]
    whole = 2 * 60 * 2 * heads * 128
    assert whole / counts.cache_bytes_per_token == pytest.approx(56.9, abs=0.05)
    assert counts.cache_bytes_per_token / (2 * 60 * 2 * 128) == 2.25


def test_where_the_papers_93_percent_come_from():
    # Against DeepSeek 67B, which is no multi-head attention: 95 layers with
    # 8 groups of 128 features. The numbers kept are 82 percent fewer ...
    numbers = counts_of("deepseek_v2").cache_bytes_per_token // 2
    other = 95 * 2 * 8 * 128
    assert 1 - numbers / other == pytest.approx(0.822, abs=5e-4)
    # ... and when deployed they have 6 bits instead of 16 (section 3.2.3).
    assert 1 - 6 * numbers / (16 * other) == pytest.approx(0.933, abs=5e-4)
