"""Tests of the published architectures; none of them is instantiated."""

import inspect

import pytest

from keras_moe.models.switch import SWITCH_PRESETS
from keras_moe.models.switch import SwitchBackbone


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
