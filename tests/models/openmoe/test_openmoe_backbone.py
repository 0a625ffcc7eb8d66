"""The OpenMoE backbone: what its arguments do."""

from keras_moe.layers import FeedForward
from keras_moe.models.openmoe import OPENMOE_PRESETS
from keras_moe.models.openmoe import OpenMoEBackbone
from tests.models.backbone_contract import SMALL
from tests.models.backbone_contract import BackboneContract


class TestOpenMoEBackbone(BackboneContract):
    backbone = OpenMoEBackbone
    presets = OPENMOE_PRESETS
    small = {**SMALL, "head_dim": 6}
    settings = {"expert_layer_stride": 2, "tie_embedding_weights": True}
    sparse_layers = (1,)
    with_losses = ({"expert_layer_stride": 1}, 2)
    not_positive = (("num_layers", 0), ("expert_layer_stride", 0))

    def test_a_dense_part_follows_every_sparse_one(self):
        backbone = self.make(expert_layer_stride=2)
        extra = [block.extra_feed_forward for block in backbone.decoder_blocks]
        assert extra[0] is None
        assert isinstance(extra[1], FeedForward)
