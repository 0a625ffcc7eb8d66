"""Dbrx's arguments beyond those that its published files know."""

from keras_moe.models.dbrx import DBRX_PRESETS
from keras_moe.models.dbrx import DbrxBackbone
from tests.models.backbone_contract import SETTINGS
from tests.models.backbone_contract import BackboneContract


class TestDbrxBackbone(BackboneContract):
    backbone = DbrxBackbone
    presets = DBRX_PRESETS
    with_losses = (SETTINGS, 2)
