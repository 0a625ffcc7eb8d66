"""Changing trained models: upcycling, more experts, fewer experts."""

from keras_moe.surgery.add_experts import add_experts
from keras_moe.surgery.expert_load import measure_expert_load
from keras_moe.surgery.freeze_routers import freeze_routers
from keras_moe.surgery.keep_old_experts import KeepOldExperts
from keras_moe.surgery.remove_experts import merge_experts
from keras_moe.surgery.remove_experts import prune_experts
from keras_moe.surgery.upcycle import upcycle

__all__ = [
    "KeepOldExperts",
    "add_experts",
    "freeze_routers",
    "measure_expert_load",
    "merge_experts",
    "prune_experts",
    "upcycle",
]
