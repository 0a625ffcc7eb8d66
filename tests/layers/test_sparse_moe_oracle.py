"""Outputs, losses and every gradient of every dispatch path, by the oracle."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_moe import testing
from keras_moe.balancing import LoadBalancingLoss
from keras_moe.balancing import RouterZLoss
from keras_moe.layers import SparseMoE
from keras_moe.layers import TopKRouter
from keras_moe.routing import Capacity
from keras_moe.routing import CombineWeights

# Relative to the largest number of an array: entries that nearly cancel have
# no relative accuracy of their own.
TOLERANCE = 1e-5
GROUPS, LENGTH, HIDDEN, INNER, EXPERTS, TOP_K = 2, 7, 6, 4, 5, 2
LOAD_BALANCING, ROUTER_Z = 0.5, 0.1
# Experts tie by their logits, on any processor. Tokens are ranked by a score,
# and a vectorized softmax may give equal tokens scores that differ in the last
# bit; tests of `assign_slots` let scores tie that nobody computes.
EQUAL_SCORES = "all scores equal"

PATHS = [
    # strategy, gated, capacity_factor, priority; every kind comes first
    ("sorted", True, None, "position"),
    ("sorted", True, 0.6, "score"),
    ("sorted", False, 0.6, "score"),
    ("slots", True, 0.6, "position"),
    ("slots", False, 0.6, "position"),
    ("dense", True, 0.6, "position"),
    ("sorted", True, 0.6, "position"),
    ("sorted", False, None, "position"),
    ("slots", True, 0.6, "score"),
    ("dense", True, None, "position"),
    ("dense", False, 0.6, "score"),
]


def draw(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def difference(actual, expected):
    assert actual.shape == expected.shape
    scale = np.max(np.abs(expected)) or 1.0
    return np.max(np.abs(actual - expected)) / scale


def make_layer(num_experts, intermediate_dim, top_k, router=None, **arguments):
    router = {
        "balancing": [LoadBalancingLoss(LOAD_BALANCING), RouterZLoss(ROUTER_Z)],
        **(router or {}),
    }
    return SparseMoE(
        num_experts,
        intermediate_dim,
        top_k,
        router=TopKRouter(num_experts, top_k, **router, name="router"),
        **arguments,
    )


def check_against_oracle(step, layer, inputs, padding_mask, **router):
    """Compare one step with the oracle; return what the oracle routed."""
    cotangent = draw(1, *inputs.shape)
    actual = step(inputs, padding_mask, cotangent)

    kernels = [
        ops.convert_to_numpy(part.kernel) for part in layer.experts.parts()
    ]
    if layer.gated:
        kernels = [*np.split(kernels[0], 2, axis=-1), kernels[1]]
    else:
        kernels = [None, *kernels]
    arguments = (inputs, ops.convert_to_numpy(layer.router.kernel.value))
    capacity = layer.router.capacity or Capacity()
    options = {
        "top_k": layer.router.top_k,
        "capacity_factor": capacity.factor,
        "priority": capacity.priority,
        "padding_mask": padding_mask,
        **router,
    }
    expected = testing.moe(*arguments, *kernels, **options)
    assert difference(actual.outputs, expected.outputs) <= TOLERANCE
    for loss, wanted in zip(
        actual.losses,
        (
            LOAD_BALANCING * expected.load_balancing_loss,
            ROUTER_Z * expected.router_z_loss,
        ),
        strict=True,
    ):
        assert loss == pytest.approx(wanted, rel=TOLERANCE)

    gradients = testing.moe_gradients(
        *arguments,
        *kernels,
        cotangent,
        load_balancing_loss_weight=LOAD_BALANCING,
        router_z_loss_weight=ROUTER_Z,
        **options,
    )
    wanted = {
        "inputs": gradients.inputs,
        "router/kernel": gradients.router_kernel,
        "experts/up/kernel": gradients.up_kernel,
        "experts/down/kernel": gradients.down_kernel,
    }
    if layer.gated:
        wanted["experts/gate_up/kernel"] = np.concatenate(
            [gradients.gate_kernel, wanted.pop("experts/up/kernel")], axis=-1
        )
    assert actual.gradients.keys() == wanted.keys()
    for name, gradient in wanted.items():
        error = difference(actual.gradients[name], gradient)
        assert error <= TOLERANCE, name
    return expected


def scenarios():
    """Name, inputs, router kernel (`None`: as drawn) and padding mask."""
    everything = np.ones((GROUPS, LENGTH), bool)
    inputs = draw(2, GROUPS, LENGTH, HIDDEN)
    yield "random", inputs, None, everything

    padding = draw(3, GROUPS, LENGTH) > -0.5
    padding[1] = False
    yield "padding, and a row of nothing else", inputs, None, padding

    yield "no real token at all", inputs, None, ~everything

    # Every token ties between all experts and takes the first two; the other
    # experts are empty.
    nothing = np.zeros((HIDDEN, EXPERTS), "float32")
    yield EQUAL_SCORES, inputs, nothing, everything

    # Small integers, so that the two equal columns tie exactly.
    integers = np.round(2 * inputs)
    columns = np.round(2 * draw(4, HIDDEN, EXPERTS))
    columns[:, 3] = columns[:, 1]
    yield "two scores equal", integers, columns, everything

    # Each token with scores of its own: see EQUAL_SCORES.
    positive = inputs.copy()
    positive[..., 0] = 0.5 + np.abs(inputs[..., 0])
    strong = nothing.copy()
    strong[0] = [0.0, 0.1, 0.2, 6.0, 0.3]
    yield "all tokens to experts 3 and 4", positive, strong, everything


def check_path(path, make_step, form, fill_weights):
    strategy, gated, capacity_factor, priority = path
    layer = make_layer(
        EXPERTS,
        INNER,
        TOP_K,
        router={"capacity": Capacity(capacity_factor, priority=priority)},
        strategy=strategy,
        gated=gated,
    )
    layer.build((GROUPS, LENGTH, HIDDEN))
    fill_weights(layer)
    drawn = np.array(ops.convert_to_numpy(layer.router.kernel.value))
    step = make_step(layer, form)
    for name, inputs, router_kernel, padding_mask in scenarios():
        if name == EQUAL_SCORES and priority == "score":
            continue
        layer.router.kernel.assign(
            drawn if router_kernel is None else router_kernel
        )
        result = check_against_oracle(step, layer, inputs, padding_mask)
        # The scenarios are what they say, or would prove nothing.
        dropped = np.any(padding_mask[..., None] & ~result.kept)
        limited = capacity_factor is not None and np.any(padding_mask)
        assert dropped == limited, name
        if name.startswith("all"):
            experts = np.unique(result.routing.expert_indices)
            assert len(experts) == TOP_K, name


@pytest.mark.sweep(first=6)
@pytest.mark.parametrize("path", PATHS, ids=str)
def test_every_path_agrees_with_the_oracle(path, make_step, form, fill_weights):
    check_path(path, make_step, form, fill_weights)


# XLA takes another grouped product. Compiling the sorts takes seconds, so the
# paths are chosen to hold every strategy, both experts and both priorities.
@pytest.mark.skipif(
    keras.config.backend() != "tensorflow", reason="is what JAX always does"
)
@pytest.mark.parametrize(
    "path",
    [
        ("sorted", True, None, "position"),
        ("sorted", False, 0.6, "score"),
        ("slots", True, 0.6, "position"),
    ],
    ids=str,
)
def test_paths_compiled_by_tensorflow_agree_with_the_oracle(
    path, make_step, fill_weights
):
    check_path(path, make_step, "compiled", fill_weights)


SIZES = {
    # groups, length, hidden, intermediate, experts, top_k
    "one token": (1, 1, 6, 4, 5, 2),
    "one expert": (2, 3, 6, 4, 1, 1),
    "every expert": (2, 3, 6, 4, 3, 3),
    "odd sizes": (3, 5, 7, 3, 11, 3),
    "more experts than pairs": (1, 3, 2, 5, 13, 1),
}


@pytest.mark.sweep(first=3)
@pytest.mark.parametrize(
    ("size", "strategy"),
    [
        *((size, "sorted") for size in SIZES),
        ("one token", "slots"),
        ("one expert", "slots"),
        ("odd sizes", "slots"),
        ("odd sizes", "dense"),
    ],
)
def test_every_size_agrees_with_the_oracle(
    size, strategy, make_step, form, fill_weights
):
    groups, length, hidden, inner, experts, top_k = SIZES[size]
    layer = make_layer(
        experts,
        inner,
        top_k,
        router={"capacity": Capacity(1.0) if strategy == "slots" else None},
        strategy=strategy,
    )
    layer.build((groups, length, hidden))
    fill_weights(layer)
    check_against_oracle(
        make_step(layer, form),
        layer,
        draw(5, groups, length, hidden),
        np.ones((groups, length), bool),
    )


@pytest.mark.sweep(first=2)
@pytest.mark.parametrize(
    ("top_k", "score_function", "normalize", "route_scale"),
    [
        (1, "softmax", None, 1.0),
        (1, "softmax", True, 1.0),
        (2, "softmax", False, 2.5),
        (3, "sigmoid", None, 2.5),
    ],
)
def test_every_router_agrees_with_the_oracle(
    top_k, score_function, normalize, route_scale, make_step, form, fill_weights
):
    layer = make_layer(
        EXPERTS,
        INNER,
        top_k,
        router={
            "score_function": score_function,
            "combine_weights": CombineWeights(normalize, scale=route_scale),
        },
    )
    layer.build((GROUPS, LENGTH, HIDDEN))
    fill_weights(layer)
    padding_mask = draw(3, GROUPS, LENGTH) > -0.5
    check_against_oracle(
        make_step(layer, form),
        layer,
        draw(2, GROUPS, LENGTH, HIDDEN),
        padding_mask,
        score_function=score_function,
        normalize=normalize,
        route_scale=route_scale,
    )


@pytest.mark.sweep
def test_an_uncompiled_step_without_a_mask_agrees_too(make_step, fill_weights):
    layer = make_layer(EXPERTS, INNER, TOP_K)
    layer.build((GROUPS, LENGTH, HIDDEN))
    fill_weights(layer)
    inputs = draw(2, GROUPS, LENGTH, HIDDEN)
    check_against_oracle(make_step(layer, "eager"), layer, inputs, None)
