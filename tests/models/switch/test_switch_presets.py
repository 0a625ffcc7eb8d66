"""Tests of the published architectures; none of them is instantiated."""

import inspect

import pytest
import torch
from transformers import SwitchTransformersConfig
from transformers import SwitchTransformersForConditionalGeneration

from keras_moe.models.switch import SWITCH_PRESETS
from keras_moe.models.switch import SwitchBackbone

# Switch counts without making a model.
pytestmark = pytest.mark.once


@pytest.mark.parametrize("name", SWITCH_PRESETS)
def test_presets_are_constructor_arguments(name):
    arguments = inspect.signature(SwitchBackbone).parameters
    assert set(SWITCH_PRESETS[name]) <= set(arguments)


# Billions of parameters: table 9 of https://arxiv.org/abs/2101.03961, where
# Switch-Base with 128 experts has "7B" and Switch-Large "26B"; the abstract of
# https://arxiv.org/abs/2202.08906 gives ST-MoE-32B 269B.
@pytest.mark.parametrize(
    "name, billions",
    [
        ("switch_base_128", 7),
        ("switch_large_128", 26),
        ("switch_xxl_128", 395),
        ("switch_c_2048", 1571),
        ("st_moe_32b", 269),
    ],
)
def test_preset_sizes_are_the_published_ones(name, billions):
    counts = SwitchBackbone.parameter_counts(**SWITCH_PRESETS[name])
    assert round(counts.total / 1e9) == billions


def test_the_size_is_that_of_transformers_model():
    # google/switch-base-8; without memory for its weights.
    config = SwitchTransformersConfig(
        d_ff=3072, num_sparse_encoder_layers=6, num_sparse_decoder_layers=6
    )
    with torch.device("meta"):
        model = SwitchTransformersForConditionalGeneration(config)
    sizes = {
        name: parameter.numel()
        for name, parameter in model.named_parameters()
        if "embed_tokens" not in name and not name.startswith("lm_head")
    }
    counts = SwitchBackbone.parameter_counts(**SWITCH_PRESETS["switch_base_8"])
    assert counts.total == sum(sizes.values()) == 619_339_008
