"""YaRN against transformers and by hand."""

import math

import numpy as np
import pytest
from transformers import DeepseekV3Config
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from keras_moe.blocks.rotary_embedding import rotary_frequencies
from keras_moe.blocks.yarn import Yarn
from keras_moe.blocks.yarn import get_yarn
from keras_moe.blocks.yarn import yarn_frequencies
from keras_moe.blocks.yarn import yarn_magnitude
from keras_moe.blocks.yarn import yarn_softmax_scale

# The frequencies are NumPy's.
pytestmark = pytest.mark.once

DEEPSEEK = Yarn(40.0, 4096, mscale=0.707, mscale_all_dim=0.707)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"beta_fast": 4.0, "beta_slow": 2.0},
        {"beta_fast": 1.0},  # Kimi K2: both bounds are the same number
        {"truncate": False},
        {"scaling_factor": 1.5, "original_max_length": 100},
        {"original_max_length": 8},
        {"mscale": 1.0},
        {"mscale": 0.0, "mscale_all_dim": 0.0},
        {"attention_factor": 1.25},
    ],
    ids=str,
)
@pytest.mark.parametrize(("dim", "theta"), [(64, 10_000.0), (8, 50_000.0)])
def test_frequencies_and_magnitude_equal_transformers(dim, theta, change):
    yarn = DEEPSEEK._replace(**change)
    config = DeepseekV3Config(
        qk_rope_head_dim=dim,
        rope_parameters={
            "rope_type": "yarn",
            "rope_theta": theta,
            "factor": yarn.scaling_factor,
            "original_max_position_embeddings": yarn.original_max_length,
            "beta_fast": yarn.beta_fast,
            "beta_slow": yarn.beta_slow,
            "truncate": yarn.truncate,
            "mscale": yarn.mscale,
            "mscale_all_dim": yarn.mscale_all_dim,
            "attention_factor": yarn.attention_factor,
        },
    )
    expected, magnitude = ROPE_INIT_FUNCTIONS["yarn"](config)
    actual = yarn_frequencies(dim, theta, yarn)
    assert actual.dtype == "float32"
    np.testing.assert_allclose(actual, expected.numpy(), rtol=2e-6)
    assert yarn_magnitude(yarn) == pytest.approx(magnitude, rel=1e-12)


def test_fast_pairs_stay_and_slow_ones_are_divided():
    yarn = Yarn(40.0, 4096)
    plain = rotary_frequencies(64, 10_000.0)
    ratio = yarn_frequencies(64, 10_000.0, yarn) / plain
    turns = 4096 * plain / (2 * math.pi)
    # Whole pairs are a little generous on both sides.
    assert np.all(ratio[turns > 2 * 32] == 1.0)
    np.testing.assert_allclose(ratio[turns < 1 / 2], 1 / 40, rtol=1e-6)
    assert np.all(np.diff(ratio) < 1e-6)


def test_without_yarn_nothing_changes():
    np.testing.assert_array_equal(
        yarn_frequencies(8, 100.0, None), rotary_frequencies(8, 100.0)
    )
    assert yarn_magnitude(None) == 1.0
    assert yarn_softmax_scale(None) == 1.0


def test_a_context_that_is_not_longer_keeps_its_magnitudes():
    yarn = DEEPSEEK._replace(scaling_factor=1.0, mscale=0.5)
    assert yarn_magnitude(yarn) == 1.0
    assert yarn_softmax_scale(yarn) == 1.0


def test_the_softmax_scale_is_the_square_of_the_magnitude_of_all_features():
    expected = (0.1 * 0.707 * math.log(40) + 1) ** 2
    assert yarn_softmax_scale(DEEPSEEK) == pytest.approx(expected)
    assert yarn_softmax_scale(DEEPSEEK._replace(mscale_all_dim=0.0)) == 1.0


def test_a_dictionary_of_the_fields_makes_one():
    assert get_yarn(DEEPSEEK._asdict()) == DEEPSEEK
    assert get_yarn(DEEPSEEK) is DEEPSEEK
    assert get_yarn(None) is None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"scaling_factor": 2.0}, "the first two at least"),
        (
            {"scaling_factor": 2.0, "original_max_length": 8, "factor": 2.0},
            "'factor': 2.0",
        ),
        (
            {"scaling_factor": 0.0, "original_max_length": 8},
            "`scaling_factor` to be positive",
        ),
    ],
)
def test_bad_fields_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        get_yarn(fields)
