"""What a sparse layer needs on a TPU chip, partitioned plainly and by us.

    python benchmarks/tpu_layer.py benchmarks/results/tpu/layer.json

Compiled for 64 chips by libtpu; no chip is needed, and nothing is timed. Plain
means what XLA's partitioner makes of sorting and `jax.lax.ragged_dot`, with
the tokens on all chips and the experts on 64 of them.
"""

import json
import os
import sys

os.environ.update(KERAS_BACKEND="jax", JAX_PLATFORMS="cpu")

import jax
import jax.numpy as jnp

from keras_moe.distribution import ExpertParallel
from keras_moe.distribution import MeshLayout
from keras_moe.layers import SparseMoE
from keras_moe.layers import TopKRouter
from keras_moe.ops.jax.ahead_of_time import LEAST_EFFORT
from keras_moe.ops.jax.ahead_of_time import compile_lowered
from keras_moe.ops.jax.ahead_of_time import make_abstract
from keras_moe.planning.chips import open_slice
from keras_moe.planning.measured import measure
from keras_moe.routing import Capacity

TOPOLOGY = "v5p:4x4x4"
NUM_EXPERTS, TOP_K, HIDDEN, WIDTH, TOKENS = 64, 2, 4096, 14_336, 65_536


def plain(tokens, router, up, down):
    scores = jax.nn.softmax((tokens @ router).astype("float32"))
    weights, experts = jax.lax.top_k(scores, TOP_K)
    order = jnp.argsort(experts.reshape(-1))
    sizes = jnp.bincount(experts.reshape(-1), length=NUM_EXPERTS)
    rows = jax.nn.silu(jax.lax.ragged_dot(tokens[order // TOP_K], up, sizes))
    rows = jax.lax.ragged_dot(rows, down, sizes)[jnp.argsort(order)]
    rows = rows.reshape(-1, TOP_K, HIDDEN)
    return jnp.einsum("tkd,tk->td", rows, weights.astype(rows.dtype))


def ours(distribution, capacity):
    """Return the layer as a function of arrays, and descriptions of these."""

    def make():
        with distribution.scope():
            router = TopKRouter(NUM_EXPERTS, TOP_K, capacity=capacity)
            layer = SparseMoE(
                NUM_EXPERTS,
                WIDTH,
                router=router,
                gated=False,
                activation="silu",
                dtype="bfloat16",
            )
            layer.build((None, None, HIDDEN))
            return layer

    layer = make_abstract(make)

    def run(tokens, trainable, others):
        outputs, _, losses = layer.stateless_call(
            trainable, others, tokens, training=True, return_losses=True
        )
        return outputs, sum(losses)

    groups = distribution.num_model_replicas
    shape = (groups, TOKENS // groups, HIDDEN)
    return run, (
        _described(distribution.get_data_layout(shape), shape),
        [_of(distribution, v) for v in layer.trainable_variables],
        [_of(distribution, v) for v in layer.non_trainable_variables],
    )


def _of(distribution, variable):
    layout = distribution.get_variable_layout(variable)
    return _described(layout, variable.shape, variable.dtype)


def _described(layout, shape, dtype="bfloat16"):
    return jax.ShapeDtypeStruct(shape, dtype, sharding=layout.backend_layout)


def with_gradient(function):
    """Return a function that also returns the gradients of its inputs."""

    def scalar(*arguments):
        outputs = jax.tree.leaves(function(*arguments))
        return sum(jnp.sum(each.astype("float32")) for each in outputs)

    return jax.grad(scalar, argnums=(0, 1), allow_int=True)


def plain_arrays(distribution):
    """Describe what `plain` is given."""
    mesh = distribution.device_mesh
    kernel = MeshLayout(("expert", None, None), mesh)
    return (
        _described(
            MeshLayout((("data", "expert"), None), mesh), (TOKENS, HIDDEN)
        ),
        _described(MeshLayout((None, None), mesh), (HIDDEN, NUM_EXPERTS)),
        _described(kernel, (NUM_EXPERTS, HIDDEN, WIDTH)),
        _described(kernel, (NUM_EXPERTS, WIDTH, HIDDEN)),
    )


def compiled(distribution, function, arguments):
    """Return a function's needs as a dict, or why it cannot be compiled."""
    with distribution.scope():
        lowered = jax.jit(function).lower(*arguments)
    try:
        needs = measure(compile_lowered(lowered, LEAST_EFFORT))
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        return {"error": str(error)[:300]}
    return {
        "temporary": needs.memory["temporary"],
        "collectives": {
            kind: traffic._asdict()
            for kind, traffic in needs.collectives.items()
        },
    }


def main(path):
    pod = open_slice(TOPOLOGY)
    distribution = ExpertParallel(expert=NUM_EXPERTS, devices=pod.devices)
    cases = {
        "plain": (plain, plain_arrays(distribution)),
        "ours, capacity 1.25": ours(distribution, Capacity(1.25)),
        "ours, dropless": ours(distribution, None),
    }
    found = {}
    for name, (function, arguments) in cases.items():
        for way, step in (
            ("forward", function),
            ("gradient", with_gradient(function)),
        ):
            found[f"{name}, {way}"] = compiled(distribution, step, arguments)
            print(name, way, found[f"{name}, {way}"], flush=True)
    with open(path, "w", encoding="utf-8") as file:
        json.dump(found, file, indent=1)


if __name__ == "__main__":
    main(sys.argv[1])
