"""The Qwen2-MoE backbone: what its arguments do."""

from keras_moe.layers import SharedExpertMoE
from keras_moe.models.qwen2_moe import QWEN2_MOE_PRESETS
from keras_moe.models.qwen2_moe import Qwen2MoEBackbone
from tests.models.backbone_contract import SMALL
from tests.models.backbone_contract import DenseLayersContract
from tests.models.backbone_contract import routed_part


class TestQwen2MoEBackbone(DenseLayersContract):
    backbone = Qwen2MoEBackbone
    sparse_class = SharedExpertMoE
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
        "use_query_key_value_bias": False,
        "tie_embedding_weights": True,
    }

    def test_its_own_settings_reach_the_layers(self):
        for block in self.sparse_blocks():
            assert routed_part(block).router.combine_weights.normalize is True
            kernel = block.feed_forward.shared_experts.down.kernel
            assert tuple(kernel.shape) == (28, 16)
