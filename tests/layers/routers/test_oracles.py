"""Each router against its formula: weights of all experts, and gradients."""

import keras
import numpy as np
import pytest
from keras import ops

TOKENS, HIDDEN, EXPERTS = 7, 5, 6


def softmax(logits):
    probs = np.exp(logits - np.max(logits, -1, keepdims=True))
    return probs / np.sum(probs, -1, keepdims=True)


def best(scores, number):
    """Mark the `number` best of the last axis."""
    rank = np.argsort(np.argsort(-scores, axis=-1), axis=-1)
    return rank < number


def shared(probs, kept):
    return probs * kept / np.sum(probs * kept, -1, keepdims=True)


def top_k(x, kernel, *rest):
    probs = softmax(x @ kernel)
    return shared(probs, best(probs, 2))


def cosine(x, kernel, bias, embeddings, log_scale):
    tokens = x @ kernel + bias
    tokens = tokens / np.linalg.norm(tokens, axis=-1, keepdims=True)
    embeddings = embeddings / np.linalg.norm(embeddings, axis=0)
    probs = softmax(tokens @ embeddings * np.exp(min(log_scale, np.log(100))))
    return shared(probs, best(probs, 2))


def top_p(x, kernel):
    weights = np.zeros((len(x), EXPERTS))
    for token, probs in enumerate(softmax(x @ kernel)):
        for expert in np.argsort(-probs)[:4]:
            if weights[token].sum() < 0.6:
                weights[token, expert] = probs[expert]
    return weights


def zero_computation(x, kernel, constants, constant_kernel):
    # Three experts that compute, an identity, a constant and a zero expert.
    weights = top_k(x, kernel)
    shares = softmax(x @ constant_kernel[0])
    mixed = shares[:, :1] * x + shares[:, 1:] * constants[0]
    free = weights[:, 3:4] * x + weights[:, 4:5] * mixed
    return np.concatenate([weights, free], axis=-1)


def sparse_mixer(x, kernel):
    weights = np.zeros((len(x), EXPERTS))
    for token, logits in enumerate(x @ kernel):
        left = logits.copy()
        for _ in range(2):
            scale = np.maximum(np.abs(logits), left.max())
            is_close = (left.max() - left) / scale <= 2 * 0.25
            gates = softmax(np.where(is_close, left, -np.inf))
            weights[token, left.argmax()] = gates[left.argmax()]
            left[left.argmax()] = -np.inf
    return weights


def hierarchical(x, kernel, group_kernel):
    # Three groups of two experts; two groups, one expert of each.
    groups = softmax(x @ group_kernel)
    within = softmax((x @ kernel).reshape(-1, 3, 2))
    primary = shared(groups, best(groups, 2))
    # One expert of a group: its probability as it is.
    secondary = within * best(within, 1)
    return (primary[..., None] * secondary).reshape(-1, EXPERTS)


def everyone(x, kernel):
    return softmax(x @ kernel)


def in_turn(x, kernel):
    kept = np.zeros((len(x), EXPERTS), bool)
    for pair in range(2 * len(x)):
        kept[pair // 2, pair % EXPERTS] = True
    return shared(softmax(x @ kernel), kept)


# Name, oracle, arguments.
CASES = [
    ("top_k", top_k, {}),
    ("noisy_top_k", top_k, {}),
    ("cosine", cosine, {"projection_dim": 3}),
    ("top_p", top_p, {"top_k": 4, "top_p": 0.6}),
    ("zero_computation", zero_computation, {}),
    ("sparse_mixer", sparse_mixer, {"epsilon": 0.25}),
    ("hierarchical", hierarchical, {"num_groups": 3, "num_limited": 2}),
    ("random", everyone, {"top_k": EXPERTS}),
    ("balanced", in_turn, {}),
]


def dense(plan):
    """Weights (T, E) of all experts, 0 where not chosen, and free outputs."""
    experts = ops.arange(EXPERTS, dtype="int32")
    chosen = ops.equal(plan.expert_indices[..., None], experts)
    chosen = ops.cast(chosen, "float32")
    weights = ops.sum(plan.combine_weights[..., None] * chosen, axis=-2)
    if plan.free_outputs is not None:
        weights = ops.concatenate([weights, plan.free_outputs], axis=-1)
    return ops.reshape(weights, (TOKENS, -1))


def slopes(function, arrays, cotangent):
    """Gradients of `sum(function(*arrays) * cotangent)` by differences."""
    gradients = []
    for array in arrays:
        gradient = np.zeros(array.shape)
        for index in np.ndindex(array.shape):
            ends = []
            for step in (1e-6, -1e-6):
                kept, array[index] = array[index], array[index] + step
                ends.append(np.sum(function(*arrays) * cotangent))
                array[index] = kept
            gradient[index] = (ends[0] - ends[1]) / 2e-6
        gradients.append(gradient)
    return gradients


@pytest.mark.parametrize(("name", "oracle", "arguments"), CASES)
def test_weights_and_gradients_are_those_of_the_formula(
    name, oracle, arguments, make_router, draw, vjp
):
    free = 3 if name == "zero_computation" else 0
    router = make_router(name, EXPERTS - free, **{"top_k": 2, **arguments})
    router.build((None, None, HIDDEN))
    variables = router.trainable_variables
    arrays = [draw(1, TOKENS, HIDDEN, seed=11)] + [
        draw(*variable.shape, seed=seed)
        for seed, variable in enumerate(variables, 20)
    ]

    def weights(inputs, *values):
        with keras.StatelessScope(zip(variables, values, strict=True)):
            return dense(router(inputs))

    plain = [array.astype("float64") for array in arrays]
    plain[0] = plain[0][0]
    expected = oracle(*plain)
    cotangent = draw(*expected.shape, seed=2)
    value, gradients = vjp(weights, arrays, cotangent)
    np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-5)
    wanted = slopes(oracle, plain, cotangent)
    for gradient, slope in zip(gradients, wanted, strict=True):
        if gradient is None:  # what is used while training alone
            assert not np.any(slope)
            continue
        # Sums of a dozen float32 products of size 1.
        np.testing.assert_allclose(
            gradient.reshape(slope.shape), slope, rtol=1e-3, atol=1e-4
        )


def test_a_token_without_a_direction_has_equal_scores_and_finite_gradients(
    make_router, vjp
):
    # The projection of zeros is its bias: zeros at first.
    router = make_router("cosine", EXPERTS)
    router.build((None, None, HIDDEN))
    zeros = np.zeros((1, TOKENS, HIDDEN), "float32")
    value, (gradient,) = vjp(
        lambda inputs: router(inputs).scores.probs,
        [zeros],
        np.ones((1, TOKENS, EXPERTS), "float32"),
    )
    np.testing.assert_allclose(value, 1 / EXPERTS, rtol=1e-6)
    assert np.all(np.isfinite(gradient))
