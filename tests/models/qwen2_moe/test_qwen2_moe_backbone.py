"""The Qwen2-MoE backbone: what its arguments do."""

from keras_moe.layers import FeedForward
from keras_moe.layers import SharedExpertMoE
from keras_moe.models.qwen2_moe import QWEN2_MOE_PRESETS
from keras_moe.models.qwen2_moe import Qwen2MoEBackbone
from tests.models.backbone_contract import SMALL
from tests.models.backbone_contract import BackboneContract
from tests.models.backbone_contract import routed_part


class TestQwen2MoEBackbone(BackboneContract):
    backbone = Qwen2MoEBackbone
    presets = QWEN2_MOE_PRESETS
    small = {
        **SMALL,
        "num_layers": 4,
        "intermediate_dim": 12,
        "shared_intermediate_dim": 28,
        "num_experts": 6,
    }
    settings = {
        "normalize_combine_weights": True,
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
        assert kinds == [FeedForward, SharedExpertMoE, FeedForward, FeedForward]
        assert tuple(parts[0].down.kernel.shape) == (20, 16)
        assert tuple(parts[1].shared_experts.down.kernel.shape) == (28, 16)

    def test_every_layer_is_sparse_unless_told(self):
        backbone = self.make()
        parts = [block.feed_forward for block in backbone.decoder_blocks]
        assert all(isinstance(part, SharedExpertMoE) for part in parts)

    def test_its_own_settings_reach_the_layers(self):
        for block in self.sparse_blocks():
            router = routed_part(block).router
            assert router.normalize_combine_weights is True
