"""Switch Transformers: T5 with top-1 experts in every n-th block."""

from keras_moe.models.switch.switch_backbone import SwitchBackbone
from keras_moe.models.switch.switch_classifier import SwitchClassifier
from keras_moe.models.switch.switch_presets import SWITCH_PRESETS
from keras_moe.models.switch.switch_seq2seq_lm import SwitchSeq2SeqLM
from keras_moe.models.switch.switch_text_classifier_preprocessor import (
    SwitchTextClassifierPreprocessor,
)

__all__ = [
    "SWITCH_PRESETS",
    "SwitchBackbone",
    "SwitchClassifier",
    "SwitchSeq2SeqLM",
    "SwitchTextClassifierPreprocessor",
]
