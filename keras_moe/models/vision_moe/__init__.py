"""V-MoE: Vision Transformers with experts in some layers."""

from keras_moe.models.vision_moe.vision_moe_backbone import VisionMoEBackbone
from keras_moe.models.vision_moe.vision_moe_classifier import (
    VisionMoEClassifier,
)
from keras_moe.models.vision_moe.vision_moe_presets import VISION_MOE_PRESETS

__all__ = ["VISION_MOE_PRESETS", "VisionMoEBackbone", "VisionMoEClassifier"]
