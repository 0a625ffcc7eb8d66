"""The Qwen3-MoE backbone: what its arguments do."""

from keras_moe.layers import FeedForward
from keras_moe.layers import SparseMoE
from keras_moe.models.qwen3_moe import QWEN3_MOE_PRESETS
from keras_moe.models.qwen3_moe import Qwen3MoEBackbone
from tests.models.backbone_contract import SMALL
from tests.models.backbone_contract import BackboneContract


class TestQwen3MoEBackbone(BackboneContract):
    backbone = Qwen3MoEBackbone
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
        "tie_embedding_weights": True,
    }
    sparse_layers = (0, 2, 3)
    with_losses = ({"dense_layers": [0]}, 3)
    not_positive = (("num_layers", 0), ("expert_layer_stride", 0))

    def test_layers_are_dense_by_stride_and_by_index(self):
        backbone = self.make(
            expert_layer_stride=2,
            dense_layers=(3,),
            dense_intermediate_dim=20,
        )
        parts = [block.feed_forward for block in backbone.decoder_blocks]
        kinds = [type(part) for part in parts]
        assert kinds == [FeedForward, SparseMoE, FeedForward, FeedForward]
        assert tuple(parts[0].down.kernel.shape) == (20, 16)
        assert tuple(parts[1].experts.down_kernel.shape) == (9, 12, 16)

    def test_every_layer_is_sparse_unless_told(self):
        backbone = self.make()
        parts = [block.feed_forward for block in backbone.decoder_blocks]
        assert all(isinstance(part, SparseMoE) for part in parts)

    def test_its_own_settings_reach_the_layers(self):
        for block in self.sparse_blocks():
            assert block.attention.head_dim == 6
            assert block.attention.query_norm.epsilon == 1e-4
            assert block.feed_forward.router.normalize_combine_weights is False
