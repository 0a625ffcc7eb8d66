"""Time a SparseMoE against a dense MLP and against every expert at once.

    KERAS_BACKEND=jax python benchmarks/layer.py --out layer_jax.json

Each figure is a ratio taken in one run: the three contestants take turns, and
the median of the per-round ratios is reported. All have the same gated
feed-forward arithmetic per expert; the dense MLP is as wide as the K experts
that a token meets, so it does the same active FLOPs.
"""

import argparse
import json
import platform
import statistics
import time

import keras
import numpy as np
from keras import ops

from keras_moe.layers import FeedForward
from keras_moe.layers import SparseMoE

# (experts, top_k, hidden_dim, intermediate_dim)
SIZES = {
    "small": (8, 2, 64, 64),
    "E=8 K=2 512x1024": (8, 2, 512, 1024),
    "E=64 K=8 512x512": (64, 8, 512, 512),
    "E=128 K=8 512x256": (128, 8, 512, 256),
}


def gradient_step(layer):
    """Return a compiled forward and backward pass of one layer."""
    backend = keras.config.backend()
    if backend == "jax":
        import jax

        @jax.jit
        def step(trainable, non_trainable, inputs):
            def loss(trainable, inputs):
                outputs, _ = layer.stateless_call(
                    trainable, non_trainable, inputs
                )
                return ops.mean(outputs**2)

            return jax.grad(loss, argnums=(0, 1))(trainable, inputs)

        trainable = [v.value for v in layer.trainable_variables]
        non_trainable = [v.value for v in layer.non_trainable_variables]
        return lambda inputs: jax.block_until_ready(
            step(trainable, non_trainable, inputs)
        )
    if backend == "tensorflow":
        import tensorflow as tf

        variables = [v.value for v in layer.trainable_variables]

        @tf.function
        def step(inputs):
            with tf.GradientTape() as tape:
                tape.watch(inputs)
                loss = tf.reduce_mean(layer(inputs) ** 2)
            return tape.gradient(loss, [inputs, *variables])

        return lambda inputs: step(inputs)[-1].numpy()
    import torch

    parameters = [v.value for v in layer.trainable_variables]

    def step(inputs):
        inputs = inputs.detach().requires_grad_()
        loss = (layer(inputs) ** 2).mean()
        torch.autograd.grad(loss, [inputs, *parameters])

    return step


def contestants(num_experts, top_k, hidden_dim, intermediate_dim):
    def sparse(dispatcher):
        return SparseMoE(
            num_experts, intermediate_dim, top_k, dispatcher=dispatcher
        )

    layers = {
        "sparse": sparse("sorted"),
        "dense MLP of equal active FLOPs": FeedForward(
            top_k * intermediate_dim
        ),
        "every expert on every token": sparse("dense"),
    }
    for layer in layers.values():
        layer.build((1, None, hidden_dim))
    return {name: gradient_step(layer) for name, layer in layers.items()}


def measure(size, num_tokens, rounds):
    """Time all contestants in turn; return seconds per round."""
    rng = np.random.default_rng(0)
    inputs = ops.convert_to_tensor(
        rng.normal(size=(1, num_tokens, size[2])).astype("float32")
    )
    steps = contestants(*size)
    seconds = {name: [] for name in steps}
    for round_number in range(rounds + 1):
        # Turn the order around each round: the machine's speed drifts.
        names = list(steps)[:: 1 if round_number % 2 else -1]
        for name in names:
            start = time.perf_counter()
            steps[name](inputs)
            if round_number:  # The first round compiles.
                seconds[name].append(time.perf_counter() - start)
    return seconds


def ratio(numerator, denominator):
    pairs = zip(numerator, denominator, strict=True)
    return statistics.median(a / b for a, b in pairs)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", action="append", choices=SIZES)
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", help="JSON file for the results")
    arguments = parser.parse_args()
    results = []
    print("| size | / dense MLP | / every expert |\n|---|---|---|")
    for name in arguments.size or list(SIZES)[1:]:
        seconds = measure(SIZES[name], arguments.tokens, arguments.rounds)
        sparse, dense, every = seconds.values()
        row = {
            "size": name,
            "over_dense": ratio(sparse, dense),
            "over_every_expert": ratio(sparse, every),
            "seconds": seconds,
        }
        results.append(row)
        print(
            f"| {name} | {row['over_dense']:.2f} "
            f"| {row['over_every_expert']:.2f} |",
            flush=True,
        )
    if arguments.out:
        report = {
            "backend": keras.config.backend(),
            "keras": keras.__version__,
            "machine": platform.machine(),
            "tokens": arguments.tokens,
            "results": results,
        }
        with open(arguments.out, "w") as file:
            json.dump(report, file, indent=1)


if __name__ == "__main__":
    main()
