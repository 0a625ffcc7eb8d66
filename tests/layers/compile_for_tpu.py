"""Compile a sparse layer's training step for a TPU, on a machine without.

Run by `test_tpu.py` with libtpu's folder on the path; prints JSON.
"""

import json
import math
import os
import re
import sys
from pathlib import Path

import libtpu

os.environ.update(
    KERAS_BACKEND="jax",
    JAX_PLATFORMS="cpu",
    TPU_LIBRARY_PATH=str(Path(libtpu.__file__).with_name("libtpu.so")),
    TPU_SKIP_MDS_QUERY="1",
    TPU_ACCELERATOR_TYPE="v5p-8",
    TPU_WORKER_HOSTNAMES="localhost",
    TPU_WORKER_ID="0",
)

import jax
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding
from keras import ops

from keras_moe.layers import SparseMoE


def main():
    sizes = json.loads(sys.argv[1])
    topology = topologies.get_topology_desc(
        platform="tpu", topology_name="v5p:2x2x1"
    )
    device = SingleDeviceSharding(topology.devices[0])
    layer = SparseMoE(
        sizes["num_experts"],
        sizes["intermediate_dim"],
        sizes["top_k"],
        dtype="bfloat16",
    )
    layer.build((1, sizes["num_tokens"], sizes["hidden_dim"]))

    def step(trainable, non_trainable, inputs):
        def loss(trainable, inputs):
            outputs, non_trainable_after, losses = layer.stateless_call(
                trainable,
                non_trainable,
                inputs,
                training=True,
                return_losses=True,
            )
            return ops.mean(ops.cast(outputs, "float32") ** 2) + sum(losses)

        return jax.grad(loss, argnums=(0, 1))(trainable, inputs)

    def described(value):
        return jax.ShapeDtypeStruct(value.shape, value.dtype, sharding=device)

    program = (
        jax.jit(step)
        .lower(
            [described(v.value) for v in layer.trainable_variables],
            [described(v.value) for v in layer.non_trainable_variables],
            jax.ShapeDtypeStruct(
                (1, sizes["num_tokens"], sizes["hidden_dim"]),
                "bfloat16",
                sharding=device,
            ),
        )
        .compile()
    )
    text = program.as_text()
    shapes = re.findall(r"\b(?:bf16|f32|s32|pred|u32|s8|u8)\[([\d,]+)\]", text)
    numbers = [math.prod(map(int, shape.split(","))) for shape in shapes]
    print(
        json.dumps(
            {
                "custom_calls": re.findall(
                    r"%([\w.-]+) = \S+ custom-call", text
                ),
                "largest_array": max(numbers),
                "temporary_bytes": program.memory_analysis().temp_size_in_bytes,
            }
        )
    )


if __name__ == "__main__":
    main()
