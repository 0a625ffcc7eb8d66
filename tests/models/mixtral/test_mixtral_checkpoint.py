"""Mixtral against transformers."""

from transformers import MixtralConfig
from transformers import MixtralForCausalLM

from keras_moe.models import MixtralCausalLM
from tests.models.contract import VOCABULARY
from tests.models.contract import Contract
from tests.models.contract import PooledLoss
from tests.models.contract import randomize

CONFIGS = {
    "window": {"head_dim": 6, "sliding_window": 5, "num_local_experts": 4},
    "plain": {"num_local_experts": 3, "rope_theta": 500.0},
}


class TestMixtral(PooledLoss, Contract):
    task = MixtralCausalLM
    names = tuple(CONFIGS)
    quirks = {
        "window": ("window", {"sliding_window": None}),
        "theta": ("plain", {"rope_max_wavelength": 1e6}),
    }

    @staticmethod
    def reference(name):
        config = MixtralConfig(
            vocab_size=VOCABULARY,
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            **CONFIGS[name],
        )
        return randomize(MixtralForCausalLM(config))
