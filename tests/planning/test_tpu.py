"""A training step planned with libtpu."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

from keras_moe.models import parameter_counts

if keras.config.backend() != "jax":
    pytest.skip("TPUs run JAX here", allow_module_level=True)

LIBTPU = Path(sys.prefix) / "libtpu"
TINY = {
    "vocabulary_size": 256,
    "num_layers": 3,
    "hidden_dim": 128,
    "intermediate_dim": 256,
    "num_query_heads": 2,
    "num_key_value_heads": 1,
}


@pytest.mark.exhaustive
def test_plans_a_training_step_for_four_chips():
    if not LIBTPU.is_dir():
        pytest.skip(f"libtpu is not in {LIBTPU}; `make test` puts it there")
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    ended = subprocess.run(
        [
            sys.executable,
            Path(__file__).with_name("plan_for_tpu.py"),
            json.dumps(TINY),
        ],
        capture_output=True,
        text=True,
        env={
            **environment,
            "JAX_PLATFORMS": "cpu",
            "PYTHONPATH": str(Path(__file__).parents[2]),
        },
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    plan = json.loads(ended.stdout.splitlines()[-1])
    assert plan["compiled_layers"] == [1, 2] and plan["is_extrapolated"]
    assert plan["fits"] and plan["available"] == 95 * 1024**3
    # Weights and AdamW's two slots, float32, a quarter on each chip. Norms are
    # on all, and narrow arrays fill tiles of 8 x 128: 6%.
    quarter = 12 * parameter_counts("mixtral_8x7b", **TINY).total / 4
    assert 1 < plan["memory"]["weights and slots"] / quarter < 1.1
    assert plan["collectives"]["all-to-all"]["times"] > 0
    assert plan["collectives"]["all-gather"]["times"] > 0
