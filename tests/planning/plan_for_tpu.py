"""Plan a tiny model's training for four TPU chips, on a machine without.

Run by `test_tpu.py`; prints JSON.
"""

import json
import sys

from keras_moe.models.registry import preset
from keras_moe.models.registry import register_presets
from keras_moe.planning import plan_training

if __name__ == "__main__":
    backbone_class, config = preset("mixtral_8x7b")
    config.update(json.loads(sys.argv[1]))
    register_presets(backbone_class, {"tiny": config})
    plan = plan_training(
        "tiny",
        "v5p:2x2x1",
        batch=4,
        expert=2,
        shard="full",
        sequence_length=128,
        depths=(1, 2),
    )
    print(json.dumps(plan.to_dict()))
