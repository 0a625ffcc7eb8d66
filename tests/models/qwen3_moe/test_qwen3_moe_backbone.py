"""The Qwen3-MoE backbone: what its arguments do."""

from keras_moe.layers import SparseMoE
from keras_moe.models.qwen3_moe import QWEN3_MOE_PRESETS
from keras_moe.models.qwen3_moe import Qwen3MoEBackbone
from tests.models.backbone_contract import SMALL
from tests.models.backbone_contract import DenseLayersContract


class TestQwen3MoEBackbone(DenseLayersContract):
    backbone = Qwen3MoEBackbone
    sparse_class = SparseMoE
    presets = QWEN3_MOE_PRESETS
    small = {
        **SMALL,
        "num_layers": 4,
        "intermediate_dim": 12,
        "num_experts": 9,
    }
    settings = {
        "head_dim": 6,
        "normalize_combine_weights": False,
        "dense_layers": (1,),
        "use_attention_bias": True,
        "sliding_window": 3,
        "tie_embedding_weights": True,
    }

    def test_its_own_settings_reach_the_layers(self):
        for block in self.sparse_blocks():
            assert block.attention.head_dim == 6
            assert block.attention.query_norm.epsilon == 1e-4
            moe = block.feed_forward
            assert moe.router.combine_weights.normalize is False
            assert tuple(moe.experts.down.kernel.shape) == (9, 12, 16)
