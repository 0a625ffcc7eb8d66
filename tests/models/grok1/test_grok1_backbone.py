"""Grok1's arguments beyond those that its published files know."""

from keras_moe.models.grok1 import GROK1_PRESETS
from keras_moe.models.grok1 import Grok1Backbone
from tests.models.backbone_contract import SETTINGS
from tests.models.backbone_contract import BackboneContract


class TestGrok1Backbone(BackboneContract):
    backbone = Grok1Backbone
    presets = GROK1_PRESETS
    with_losses = (SETTINGS, 2)
