"""Qwen3-MoE against transformers."""

import pytest
from transformers import Qwen3MoeConfig
from transformers import Qwen3MoeForCausalLM

from keras_moe.models import parameter_counts
from keras_moe.models.qwen3_moe import QWEN3_MOE_PRESETS
from keras_moe.models.qwen3_moe import Qwen3MoEBackbone
from keras_moe.models.qwen3_moe import Qwen3MoECausalLM
from tests.models.contract import VOCABULARY
from tests.models.contract import Contract
from tests.models.contract import PooledLoss
from tests.models.contract import randomize

CONFIGS = {
    "dense_layer": {
        "num_hidden_layers": 3,
        "head_dim": 6,
        "mlp_only_layers": [1],
        "norm_topk_prob": True,
        "rms_norm_eps": 0.05,
    },
    "stride": {
        "num_hidden_layers": 2,
        "decoder_sparse_step": 2,
        "num_key_value_heads": 1,
        "rope_theta": 500.0,
        "tie_word_embeddings": True,
        "attention_bias": True,
        "use_sliding_window": True,
        "sliding_window": 5,
    },
}


def without_norms_of_queries_and_keys(backbone):
    for block in backbone.decoder_blocks:
        block.attention.query_key_norm = None


def with_the_usual_epsilon_there(backbone):
    for block in backbone.decoder_blocks:
        block.attention.query_norm.epsilon = 1e-6


class TestQwen3MoE(PooledLoss, Contract):
    task = Qwen3MoECausalLM
    names = tuple(CONFIGS)
    quirks = {
        "norms of heads": ("stride", without_norms_of_queries_and_keys),
        "their epsilon": ("dense_layer", with_the_usual_epsilon_there),
        "normalized": ("dense_layer", {"normalize_combine_weights": False}),
        "not normalized": ("stride", {"normalize_combine_weights": True}),
        "dense layer": ("dense_layer", {"dense_layers": []}),
        "stride": ("stride", {"expert_layer_stride": 1}),
        "biases": ("stride", {"use_attention_bias": False}),
        "window": ("stride", {"sliding_window": None}),
        "theta": ("stride", {"rope_max_wavelength": 1e6}),
    }

    @staticmethod
    def reference(name):
        config = Qwen3MoeConfig(
            **{
                "vocab_size": VOCABULARY,
                "hidden_size": 16,
                "intermediate_size": 20,
                "moe_intermediate_size": 12,
                "num_attention_heads": 4,
                "num_key_value_heads": 2,
                "num_experts": 5,
                "num_experts_per_tok": 3,
                **CONFIGS[name],
            }
        )
        return randomize(Qwen3MoeForCausalLM(config))

    @staticmethod
    def published(config):
        config = Contract.published(config)
        return {**config, "num_experts": config.pop("num_local_experts")}


# As many as transformers' model of the published config.json has. 3.35
# billion are called 3.3 in the report.
@pytest.mark.parametrize(
    ("preset", "total", "active"),
    [
        ("qwen3_30b_a3b", 30_532_122_624, 3.35),
        ("qwen3_235b_a22b", 235_093_634_560, 22.19),
    ],
)
def test_published_sizes(preset, total, active):
    counts = parameter_counts(Qwen3MoEBackbone, **QWEN3_MOE_PRESETS[preset])
    assert counts.total == total
    assert round(counts.active / 1e9, 2) == active
