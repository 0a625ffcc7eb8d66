"""DeepSeek-V2 against transformers."""

import json

import pytest
from transformers import DeepseekV2ForCausalLM

from keras_moe.models.deepseek_v2 import DeepSeekV2CausalLM
from tests.models.contract import Contract
from tests.models.deepseek_reference import published
from tests.models.deepseek_reference import small_reference

YARN = {
    "rope_type": "yarn",
    "rope_theta": 100.0,
    "factor": 4.0,
    "original_max_position_embeddings": 64,
    "beta_fast": 2.0,
    "mscale": 2.0,
    "mscale_all_dim": 1.0,
}
CONFIGS = {
    # As DeepSeek-V2.
    "groups": {
        "q_lora_rank": 12,
        "topk_method": "group_limited_greedy",
        "n_group": 4,
        "topk_group": 2,
        "n_routed_experts": 8,
        "n_shared_experts": 2,
        "routed_scaling_factor": 3.0,
        "rope_parameters": YARN,
    },
    # As DeepSeek-V2-Lite, with biases.
    "lite": {
        "q_lora_rank": None,
        "n_group": 1,
        "topk_group": 1,
        "n_routed_experts": 6,
        "n_shared_experts": 1,
        "attention_bias": True,
        "rope_parameters": {"rope_type": "default", "rope_theta": 100.0},
    },
}


class TestDeepSeekV2(Contract):
    task = DeepSeekV2CausalLM
    names = tuple(CONFIGS)
    quirks = {
        "groups": ("groups", {"num_expert_groups": 1, "num_limited_groups": 1}),
        "scale": ("groups", {"route_scale": 1.0}),
        "yarn": ("groups", {"yarn": None}),
        "beta": (
            "groups",
            {
                "yarn": {
                    "scaling_factor": 4.0,
                    "original_max_length": 64,
                    "mscale": 2.0,
                    "mscale_all_dim": 1.0,
                }
            },
        ),
        "mscale": (
            "groups",
            {
                "yarn": {
                    "scaling_factor": 4.0,
                    "original_max_length": 64,
                    "beta_fast": 2.0,
                    "mscale": 1.0,
                    "mscale_all_dim": 1.0,
                }
            },
        ),
        "mscale_all_dim": (
            "groups",
            {
                "yarn": {
                    "scaling_factor": 4.0,
                    "original_max_length": 64,
                    "beta_fast": 2.0,
                    "attention_factor": 1.12176,  # what `mscale` gives
                }
            },
        ),
        "bias": ("lite", {"use_attention_bias": False}),
        "theta": ("lite", {"rope_max_wavelength": 1e6}),
    }

    published = staticmethod(published)

    @staticmethod
    def reference(name):
        return small_reference(
            DeepseekV2ForCausalLM, hidden_size=16, **CONFIGS[name]
        )

    @pytest.mark.once
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"norm_topk_prob": True}, "norm_topk_prob=False"),
            ({"topk_method": "noaux_tc"}, "Received: 'noaux_tc'"),
            ({"moe_layer_freq": 2}, "moe_layer_freq=1"),
            ({"num_key_value_heads": 2}, "as many key/value heads"),
            (
                {"rope_parameters": {"rope_type": "llama3"}},
                "unscaled or YaRN",
            ),
        ],
    )
    def test_other_settings_are_refused(self, change, message):
        text = (self.folder("lite") / "config.json").read_text()
        config = {**json.loads(text), **change}
        with pytest.raises(ValueError, match=message):
            DeepSeekV2CausalLM.backbone_cls.checkpoint_format.read_config(
                config
            )
