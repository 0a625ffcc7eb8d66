"""Small models and their inputs."""

import numpy as np
import pytest

from keras_moe.models import MixtralBackbone
from keras_moe.models import MixtralCausalLM
from tests.models import backbone_contract

SMALL = {**backbone_contract.SMALL, "top_k": 2, "sliding_window": 5}


@pytest.fixture
def small_config():
    return dict(SMALL)


@pytest.fixture
def make_backbone():
    def make(**changes):
        return MixtralBackbone(**{**SMALL, **changes})

    return make


@pytest.fixture
def make_model():
    def make(**changes):
        return MixtralCausalLM(MixtralBackbone(**{**SMALL, **changes}))

    return make


@pytest.fixture
def batch():
    """Returns inputs whose second row ends in two tokens of padding."""
    token_ids = np.random.default_rng(0).integers(1, 48, (3, 9))
    padding_mask = np.ones_like(token_ids)
    padding_mask[1, 7:] = 0
    return {
        "token_ids": token_ids.astype("int32"),
        "padding_mask": padding_mask.astype("int32"),
    }
