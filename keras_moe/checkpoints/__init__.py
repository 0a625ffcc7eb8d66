"""Other people's weights: one rule table per architecture, read both ways."""

from keras_moe.checkpoints.checkpoint_folder import CheckpointFolder
from keras_moe.checkpoints.checkpoint_format import CheckpointFormat
from keras_moe.checkpoints.checkpoint_format import Field
from keras_moe.checkpoints.keras_hub_folder import KerasHubFolder
from keras_moe.checkpoints.keras_hub_folder import read_config
from keras_moe.checkpoints.layouts import Layout
from keras_moe.checkpoints.load import load_checkpoint
from keras_moe.checkpoints.rules import Rule
from keras_moe.checkpoints.rules import Source
from keras_moe.checkpoints.rules import rule
from keras_moe.checkpoints.save import save_checkpoint

__all__ = [
    "CheckpointFormat",
    "CheckpointFolder",
    "Field",
    "KerasHubFolder",
    "Layout",
    "Rule",
    "Source",
    "load_checkpoint",
    "read_config",
    "rule",
    "save_checkpoint",
]
