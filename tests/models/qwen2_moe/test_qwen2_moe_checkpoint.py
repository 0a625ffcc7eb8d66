"""Qwen2-MoE against transformers."""

import pytest
from keras import ops
from transformers import Qwen2MoeConfig
from transformers import Qwen2MoeForCausalLM

from keras_moe.checkpoints import CheckpointFolder
from keras_moe.models import parameter_counts
from keras_moe.models.qwen2_moe import QWEN2_MOE_PRESETS
from keras_moe.models.qwen2_moe import Qwen2MoEBackbone
from keras_moe.models.qwen2_moe import Qwen2MoECausalLM
from tests.models.contract import VOCABULARY
from tests.models.contract import Contract
from tests.models.contract import PooledLoss
from tests.models.contract import randomize

CONFIGS = {
    "dense_layer": {
        "num_hidden_layers": 3,
        "mlp_only_layers": [1],
        "norm_topk_prob": True,
        "rms_norm_eps": 0.05,
        "qkv_bias": False,
    },
    "stride": {
        "num_hidden_layers": 4,
        "decoder_sparse_step": 2,
        "mlp_only_layers": [3],
        "num_key_value_heads": 4,
        "rope_theta": 500.0,
        "tie_word_embeddings": True,
    },
}


def without_biases(backbone):
    for block in backbone.decoder_blocks:
        for name in ("query", "key", "value"):
            zero(getattr(block.attention, name).bias)


def without_shared_expert(backbone):
    zero(backbone.decoder_blocks[1].feed_forward.shared_experts.down.kernel)


def with_a_half_open_gate(backbone):
    zero(backbone.decoder_blocks[1].feed_forward.shared_expert_gate.kernel)


def zero(variable):
    variable.assign(ops.zeros_like(variable))


class TestQwen2MoE(PooledLoss, Contract):
    task = Qwen2MoECausalLM
    names = tuple(CONFIGS)
    quirks = {
        "normalized": ("dense_layer", {"normalize_combine_weights": False}),
        "not normalized": ("stride", {"normalize_combine_weights": True}),
        "dense layer": ("dense_layer", {"dense_layers": []}),
        "stride": ("stride", {"expert_layer_stride": 1}),
        "epsilon": ("dense_layer", {"layer_norm_epsilon": 1e-6}),
        "theta": ("stride", {"rope_max_wavelength": 1e6}),
        "bias": ("stride", without_biases),
        "shared expert": ("stride", without_shared_expert),
        "gate of the shared expert": ("stride", with_a_half_open_gate),
    }

    @staticmethod
    def reference(name):
        config = Qwen2MoeConfig(
            **{
                "vocab_size": VOCABULARY,
                "hidden_size": 16,
                "intermediate_size": 20,
                "moe_intermediate_size": 12,
                "shared_expert_intermediate_size": 28,
                "num_attention_heads": 4,
                "num_key_value_heads": 2,
                "num_experts": 5,
                "num_experts_per_tok": 3,
                **CONFIGS[name],
            }
        )
        return randomize(Qwen2MoeForCausalLM(config))

    @pytest.mark.once
    def test_sliding_windows_are_refused(self, name):
        config = CheckpointFolder(self.folder(name)).config
        config = {**config, "use_sliding_window": True}
        with pytest.raises(ValueError, match="use_sliding_window=False.*True"):
            Qwen2MoEBackbone.checkpoint_format.read_config(config)

    @pytest.mark.once
    @pytest.mark.parametrize(
        "settings",
        [{"layer_types": ["full_attention", "sliding_attention"]}]
        + [{"head_dim": 6}],
        ids=repr,
    )
    def test_other_layers_and_heads_are_refused(self, name, settings):
        config = CheckpointFolder(self.folder(name)).config
        with pytest.raises(ValueError, match="No published model has others"):
            Qwen2MoEBackbone.checkpoint_format.read_config(
                {**config, **settings}
            )


# As many as transformers' model of the published config.json has.
@pytest.mark.parametrize(
    ("preset", "total", "active"),
    [
        ("qwen1_5_moe_a2_7b", 14_315_784_192, 2.7),
        ("qwen2_57b_a14b", 57_408_658_944, 14.2),
    ],
)
def test_published_sizes(preset, total, active):
    counts = parameter_counts(Qwen2MoEBackbone, **QWEN2_MOE_PRESETS[preset])
    assert counts.total == total
    assert round(counts.active / 1e9, 1) == active
