"""The OLMoE backbone: what its arguments do."""

from keras_moe.models.olmoe import OLMOE_PRESETS
from keras_moe.models.olmoe import OLMoEBackbone
from tests.models.backbone_contract import SMALL
from tests.models.backbone_contract import BackboneContract


class TestOLMoEBackbone(BackboneContract):
    backbone = OLMoEBackbone
    presets = OLMOE_PRESETS
    small = {**SMALL, "intermediate_dim": 12, "num_experts": 9}
    settings = {
        "normalize_combine_weights": True,
        "clip_query_key_value": 0.5,
        "use_attention_bias": True,
        "tie_embedding_weights": True,
    }

    def test_its_own_settings_reach_the_layers(self):
        for block in self.sparse_blocks():
            assert block.attention.clip_query_key_value == 0.5
            assert block.attention.query_norm.epsilon == 1e-4
            assert block.feed_forward.router.combine_weights.normalize is True
