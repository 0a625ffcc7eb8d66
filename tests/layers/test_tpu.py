"""The layer's training step, compiled for a TPU on a machine without one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

if keras.config.backend() != "jax":
    pytest.skip("TPUs run JAX here", allow_module_level=True)

# Not among the other packages: JAX would look for a TPU at every start.
LIBTPU = Path(sys.prefix) / "libtpu"

SIZES = {
    "num_experts": 64,
    "top_k": 8,
    "num_tokens": 1024,
    "hidden_dim": 256,
    "intermediate_dim": 128,
}


@pytest.mark.exhaustive
def test_a_training_step_for_a_tpu_is_sparse():
    if not LIBTPU.is_dir():
        pytest.skip(f"libtpu is not in {LIBTPU}; `make test` puts it there")
    root = Path(__file__).parents[2]
    ended = subprocess.run(
        [
            sys.executable,
            Path(__file__).with_name("compile_for_tpu.py"),
            json.dumps(SIZES),
        ],
        capture_output=True,
        text=True,
        env={
            **{k: v for k, v in os.environ.items() if k != "XLA_FLAGS"},
            "PYTHONPATH": os.pathsep.join([str(LIBTPU), str(root)]),
        },
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    program = json.loads(ended.stdout.splitlines()[-1])
    # Two products forward, their two gradients for the rows, and two for
    # the kernels: each a grouped kernel.
    calls = [name.split(".")[0] for name in program["custom_calls"]]
    assert calls.count("ragged-dot-none") == 4
    assert calls.count("tgmm") == 2
    # Nothing is larger than the gate and up kernels or their rows.
    routed_rows = SIZES["num_tokens"] * SIZES["top_k"]
    widest = max(SIZES["hidden_dim"], 2 * SIZES["intermediate_dim"])
    kernels = SIZES["num_experts"] * SIZES["hidden_dim"] * widest
    assert program["largest_array"] <= max(kernels, routed_rows * widest)
