"""What routers and balancing rules cost: the layer's time with each of them.

    KERAS_BACKEND=jax python benchmarks/routers.py            # every router
    KERAS_BACKEND=jax python benchmarks/routers.py --rows     # fewer rows
    KERAS_BACKEND=jax python benchmarks/routers.py --rules    # every rule

All layers take turns in one process, in an order that turns around after each
round. A figure is the median over the rounds of the ratio within a round: to
the layer with `TopKRouter`, to the one that computes all rows, or to the one
without a rule. Rules are timed forward and backward, routers forward. On a busy
machine, `--cpu-time` counts the process' own seconds. Prints a Markdown table.
"""

import argparse
import inspect
import os
import statistics
import time

if os.environ.get("KERAS_BACKEND") == "torch":
    # Loaded after TensorFlow, torch 2.13 crashes the process.
    import torch  # noqa: F401

import keras
import numpy as np
from keras import ops

from keras_moe.balancing.get_rules import RULES
from keras_moe.layers import ROUTERS
from keras_moe.layers import SparseMoE
from keras_moe.layers import TopKRouter
from keras_moe.layers import TopPRouter
from keras_moe.layers import ZeroComputationRouter
from keras_moe.routing import LogitNoise
from layer_steps import forward_step
from layer_steps import gradient_step

VOCABULARY = 1000
NEEDED = {
    "hash": {"vocabulary_size": VOCABULARY},
    # Zeros would send all tokens to the same experts.
    "noisy_top_k": {"kernel_initializer": "glorot_uniform"},
    # As many rows as the top 8, and as many slots as 2,048 tokens.
    "expert_choice": {"capacity_factor": 8.0},
    "soft": {"slots_per_expert": 32},
}
# A rule that needs noise is compared with noise alone.
NOISY = "load_loss"
NOISE_ALONE = "none, with noise"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", action="store_true", help="fewer rows")
    parser.add_argument("--rules", action="store_true", help="balancing rules")
    parser.add_argument("--training", action="store_true", help="with noise")
    parser.add_argument(
        "--cpu-time", action="store_true", help="seconds of the processor"
    )
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--num-experts", type=int, default=64)
    parser.add_argument("--top-k", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--hidden-dim", type=int, default=256)
    parser.add_argument("--intermediate-dim", type=int, default=128)
    sizes = parser.parse_args()
    if sizes.rules:
        print(table(sizes, rules(sizes), gradient=True))
    else:
        print(table(sizes, savings(sizes) if sizes.rows else kinds(sizes)))


def table(sizes, routers, gradient=False):
    """Time a layer with each router; return a Markdown table.

    Args:
        sizes: namespace, as of the command line.
        routers: dict from a label to a router; ratios are to the first, or to
            noise alone.
        gradient: bool, whether the gradients are computed as well.

    Returns:
        str.
    """
    steps, rows = {}, {}
    for label, router in routers.items():
        steps[label], rows[label] = _step(sizes, router, gradient)
    clock = time.process_time if sizes.cpu_time else time.perf_counter
    seconds = _take_turns(steps, sizes.rounds, clock)
    first = next(iter(routers))
    lines = ["| router | time | rows |", "|---|---|---|"]
    for label in routers:
        other = NOISE_ALONE if label == NOISY else first
        ratio = statistics.median(
            mine / its
            for mine, its in zip(seconds[label], seconds[other], strict=True)
        )
        share = rows[label] / rows[first] if rows[label] else float("nan")
        lines.append(f"| {label} | {ratio:.2f} | {share:.2f} |")
    milliseconds = 1e3 * statistics.median(seconds[first])
    backend = keras.config.backend()
    lines.append(f"\n{first}: {milliseconds:.1f} ms on {backend}; {sizes}")
    return "\n".join(lines)


def kinds(sizes):
    """Return every router of the table by its name."""
    return {
        name: _make(router_class, sizes, **NEEDED.get(name, {}))
        for name, router_class in ROUTERS.items()
    }


def savings(sizes):
    """Return routers that compute fewer and fewer rows."""
    num_experts = sizes.num_experts
    routers = {
        f"top_p, {top_p}": _make(TopPRouter, sizes, top_p=top_p)
        for top_p in (1.0, 0.3, 0.15, 0.07)
    }
    for share in (4, 2):
        routers[f"1 in {share} is an identity"] = _make(
            ZeroComputationRouter, sizes, num_identity=num_experts // share
        )
    return routers


def rules(sizes):
    """Return a router without a rule, and one for each rule by its name."""
    noise = {"logit_noise": LogitNoise("normal")}
    routers = {
        "none": _make(TopKRouter, sizes, balancing=None),
        NOISE_ALONE: _make(TopKRouter, sizes, balancing=None, **noise),
    }
    for name, rule_class in RULES.items():
        takes_groups = "num_groups" in inspect.signature(rule_class).parameters
        rule = rule_class(**({"num_groups": 4} if takes_groups else {}))
        needed = noise if name == NOISY else {}
        routers[name] = _make(TopKRouter, sizes, balancing=rule, **needed)
    return routers


def _make(router_class, sizes, **arguments):
    if "top_k" in inspect.signature(router_class).parameters:
        arguments["top_k"] = sizes.top_k
    return router_class(sizes.num_experts, name="router", **arguments)


def _step(sizes, router, gradient):
    """Return a function that runs a layer, and how many rows it computes."""
    keras.utils.set_random_seed(0)
    layer = SparseMoE(sizes.num_experts, sizes.intermediate_dim, router=router)
    tokens = keras.random.normal((1, sizes.tokens, sizes.hidden_dim), seed=1)
    needed = {}
    if "token_ids" in inspect.signature(router.route).parameters:
        needed["token_ids"] = ops.reshape(
            ops.arange(sizes.tokens, dtype="int32"), (1, -1)
        )
    layer(tokens, **needed)
    counts = getattr(router(tokens, **needed), "tokens_per_expert", None)
    if counts is not None:
        counts = ops.convert_to_numpy(counts)[:, : layer.experts.num_experts]
    if gradient:
        run = gradient_step(layer, tokens)
    else:
        run = forward_step(layer, tokens, sizes.training, needed)
    run()
    return run, None if counts is None else np.sum(counts)


def _take_turns(steps, rounds, clock):
    seconds = {label: [] for label in steps}
    order = list(steps)
    for _ in range(rounds):
        for label in order:
            start = clock()
            steps[label]()
            seconds[label].append(clock() - start)
        order.reverse()
    return seconds


if __name__ == "__main__":
    main()
