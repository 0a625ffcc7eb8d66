"""What holds for every rule of the table, a new one included."""

import inspect
import math

import keras
import numpy as np
import pytest
from keras import ops

from keras_moe.balancing.get_rules import RULES
from keras_moe.layers import TopKRouter
from keras_moe.routing import CombineWeights
from keras_moe.routing import LogitNoise
from keras_moe.routing import choose_top_k
from keras_moe.routing import count_tokens

EXPERTS, TOP_K = 4, 2
LOGITS = np.random.default_rng(2).normal(size=(3, 5, EXPERTS))
MASK = np.arange(5) < np.array([[5], [3], [0]])
# Rules that balance without a loss have tests of their own.
STATE = {"expert_bias", "quantile_bias"}
NOISE = np.random.default_rng(3).normal(size=LOGITS.shape)
STDDEV = 0.25 + np.random.default_rng(4).random(LOGITS.shape)
# What a rule is given beyond its defaults, if it cannot do without.
NEEDS = {
    "device_balancing_loss": {"num_groups": 2},
    "communication_balancing_loss": {"num_groups": 2},
}


def real_tokens(logits, score_function, per_sequence=False):
    """List the (scores summing to 1, best experts) of each real token."""
    sequences = []
    for row, mask in zip(logits, MASK, strict=True):
        tokens = []
        for x in row[mask]:
            scores = {
                "softmax": np.exp(x - x.max()),
                "sigmoid": 1 / (1 + np.exp(-x)),
            }[score_function]
            best = sorted(range(EXPERTS), key=lambda e: -scores[e])[:TOP_K]
            tokens.append((scores / scores.sum(), best))
        sequences.append(tokens)
    if per_sequence:
        return [tokens for tokens in sequences if tokens]
    return [sum(sequences, [])]


def load_balancing(
    sequences, normalize_top_k=True, choices="all", per_sequence=False
):
    losses = []
    for tokens in sequences:
        loss = 0.0
        for e in range(EXPERTS):
            chosen = [
                best[: TOP_K if choices == "all" else 1] for _, best in tokens
            ]
            f = sum(e in best for best in chosen) / len(tokens)
            loss += EXPERTS * f * np.mean([share[e] for share, _ in tokens])
        divided = normalize_top_k and choices == "all"
        losses.append(loss / TOP_K if divided else loss)
    return np.mean(losses)


def device_balancing(sequences, num_groups, per_sequence=True):
    losses = []
    for tokens in sequences:
        f = [
            EXPERTS / TOP_K * np.mean([e in best for _, best in tokens])
            for e in range(EXPERTS)
        ]
        probs = np.mean([share for share, _ in tokens], axis=0)
        groups = np.split(np.arange(EXPERTS), num_groups)
        losses.append(
            sum(np.mean([f[e] for e in g]) * probs[g].sum() for g in groups)
        )
    return np.mean(losses)


def communication_balancing(
    sequences, num_groups, num_limited=None, per_sequence=True
):
    losses = []
    for tokens in sequences:
        probs = np.mean([share for share, _ in tokens], axis=0)
        loss = 0.0
        for group in np.split(np.arange(EXPERTS), num_groups):
            sent = [bool(set(best) & set(group)) for _, best in tokens]
            f = num_groups / (num_limited or TOP_K) * np.mean(sent)
            loss += f * probs[group].sum()
        losses.append(loss)
    return np.mean(losses)


def importance(sequences, of="combine_weights"):
    (tokens,) = sequences
    total = np.zeros(EXPERTS)
    for share, best in tokens:
        if of == "probs":
            total += share
        else:
            total[best] += share[best] / share[best].sum()
    return total.var() / total.mean() ** 2


def load(logits, own_threshold=True):
    """The smooth load, expert by expert, from normal noise on the logits."""
    noisy = logits + STDDEV * NOISE
    total = np.zeros(EXPERTS)
    for t in zip(*np.nonzero(MASK), strict=True):
        for e in range(EXPERTS):
            others = noisy[t] if not own_threshold else np.delete(noisy[t], e)
            threshold = np.sort(others)[-TOP_K]
            z = (logits[t][e] - threshold) / STDDEV[t][e]
            total[e] += 0.5 * math.erfc(-z / math.sqrt(2))
    return total.var() / total.mean() ** 2


def entropy(probs):
    return -sum(p * np.log(p) for p in probs)


def mean_entropy(sequences, threshold=None):
    (tokens,) = sequences
    mean = np.mean([share for share, _ in tokens], axis=0)
    return max((threshold or np.log(EXPERTS)) - entropy(mean), 0.0)


def token_entropy(sequences):
    (tokens,) = sequences
    return np.mean([entropy(share) for share, _ in tokens])


# Per name: the oracle, and arguments to try.
ORACLES = {
    "load_balancing_loss": (
        load_balancing,
        {},
        {"normalize_top_k": False},
        {"choices": "first"},
        {"per_sequence": True},
        {"per_sequence": True, "choices": "first", "normalize_top_k": False},
    ),
    "device_balancing_loss": (
        device_balancing,
        {"num_groups": 2},
        {"num_groups": 4, "per_sequence": False},
    ),
    "communication_balancing_loss": (
        communication_balancing,
        {"num_groups": 2},
        {"num_groups": 2, "num_limited": 1, "per_sequence": False},
    ),
    "importance_loss": (importance, {}, {"of": "probs"}),
    "load_loss": (load, {}, {"own_threshold": False}),
    "mean_entropy_loss": (mean_entropy, {}, {"threshold": 1.385}),
    "token_entropy_loss": (token_entropy, {}),
}
# Compared with NumPy or transformers in files of their own.
ELSEWHERE = {"pooled_load_balancing_loss", "router_z_loss"}
CASES = [
    (name, arguments, score_function)
    for name, (_, *tried) in ORACLES.items()
    for arguments in tried
    for score_function in ("softmax", "sigmoid")
]


def test_every_rule_has_an_oracle_and_a_source():
    assert {*ORACLES, *ELSEWHERE, *STATE} == {*RULES}
    for name, rule in RULES.items():
        assert rule.source, name
        assert "\n" not in rule.source
        assert "three tokens" in inspect.getdoc(rule).replace("\n", " "), name


def with_noise(plan, noise, stddev):
    stddev = ops.convert_to_tensor(stddev, "float32")
    noisy = plan.scores.logits + stddev * ops.cast(noise, "float32")
    scores = plan.scores._replace(noisy_logits=noisy, noise_stddev=stddev)
    return plan._replace(scores=scores)


@pytest.mark.sweep(first=6)
@pytest.mark.parametrize(("name", "arguments", "score_function"), CASES)
def test_value_and_gradient_agree_with_the_oracle(
    name, arguments, score_function, vjp
):
    per_sequence = {"per_sequence": name in NEEDS, **arguments}["per_sequence"]

    def oracle(logits):
        if name == "load_loss":
            return 0.5 * load(logits, **arguments)
        sequences = real_tokens(logits, score_function, per_sequence)
        return 0.5 * ORACLES[name][0](sequences, **arguments)

    def loss(logits):
        plan = choose_top_k(
            logits,
            TOP_K,
            score_function,
            CombineWeights(scale=2.5),
            padding_mask=MASK,
        )
        plan = with_noise(plan, NOISE, STDDEV)
        return RULES[name](0.5, **arguments)(count_tokens(plan, EXPERTS))

    value, (gradient,) = vjp(loss, (LOGITS.astype("float32"),), np.ones(()))
    assert float(value) == pytest.approx(oracle(LOGITS), rel=1e-4, abs=1e-7)
    expected = np.zeros_like(LOGITS)
    for index in np.ndindex(*LOGITS.shape):
        step = np.zeros_like(LOGITS)
        step[index] = 1e-5
        difference = oracle(LOGITS + step) - oracle(LOGITS - step)
        expected[index] = difference / 2e-5
    # Float32 rounds each of some twenty terms near 0.1.
    np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=2e-7)
    assert np.abs(expected).max() > 1e-4


@pytest.mark.sweep
@pytest.mark.parametrize(
    "name",
    ["load_balancing_loss", "router_z_loss", "token_entropy_loss", *NEEDS],
)
def test_means_over_micro_batches_equal_the_whole_batch(name, vjp):
    per_sequence = name == "load_balancing_loss"
    rule = RULES[name](
        0.5, **({"per_sequence": True} if per_sequence else NEEDS.get(name, {}))
    )

    def loss(logits):
        return rule(count_tokens(choose_top_k(logits, TOP_K), EXPERTS))

    def mean_loss(logits):
        return sum(loss(logits[i : i + 1]) for i in range(3)) / 3

    logits = LOGITS.astype("float32")
    whole, (gradient,) = vjp(loss, (logits,), np.ones(()))
    parts, (of_parts,) = vjp(mean_loss, (logits,), np.ones(()))
    assert float(parts) == pytest.approx(float(whole), rel=1e-5)
    np.testing.assert_allclose(of_parts, gradient, rtol=1e-4, atol=1e-7)
    assert np.abs(gradient).max() > 1e-4


@pytest.mark.once
@pytest.mark.parametrize("name", RULES)
def test_a_rule_survives_its_configuration(name):
    rule = RULES[name]
    # Every argument, with another value than its default.
    others = {
        float: 0.125,
        bool: lambda value: not value,
        "all": "first",
        "batch": "replica",
        "combine_weights": "probs",
        "sign": "proportional",
        type(None): 2,
        int: 3,
    }
    arguments = {}
    for key, parameter in inspect.signature(rule.__init__).parameters.items():
        if key == "self":
            continue
        other = others.get(
            parameter.default, others.get(type(parameter.default))
        )
        arguments[key] = other(parameter.default) if callable(other) else other
    config = keras.saving.serialize_keras_object(rule(**arguments))
    assert config["config"] == arguments
    revived = keras.saving.deserialize_keras_object(config)
    assert type(revived) is rule
    assert revived.get_config() == arguments


def all_rules(without):
    """Make one rule of each kind; a router has one bias of the choice."""
    return [
        rule(**NEEDS.get(name, {}))
        for name, rule in RULES.items()
        if name != without
    ]


# Eager steps compile every operation on JAX, whose traces the gradients test.
@pytest.mark.sweep(first=0 if keras.config.backend() == "jax" else 1)
@pytest.mark.once
def test_every_loss_has_a_scope():
    for name in set(RULES) - STATE:
        with pytest.raises(ValueError, match="Expected `scope` to be one of"):
            RULES[name](scope="world")
        # A subclass of your own need not know the argument.
        assert "scope" not in RULES[name]().get_config()


@pytest.mark.parametrize("without", sorted(STATE))
def test_eager_steps_equal_compiled_ones(without, backend):
    def trained(**arguments):
        inputs = keras.Input((5, EXPERTS))
        router = TopKRouter(
            EXPERTS,
            TOP_K,
            balancing=all_rules(without),
            logit_noise=LogitNoise(),
            seed=1,
        )
        outputs = router(inputs).combine_weights
        model = keras.Model(inputs, outputs)
        router.kernel.assign(np.eye(EXPERTS))
        model.compile(keras.optimizers.SGD(0.5), "mse", **arguments)
        x, y = LOGITS.astype("float32"), np.zeros((3, 5, TOP_K), "float32")
        loss = float(model.train_on_batch(x, y))
        assert loss > 0.01
        weights = [ops.convert_to_numpy(each.value) for each in router.weights]
        return [np.array(loss), *weights]

    eager = trained(run_eagerly=True)
    compiled = trained(jit_compile=backend == "jax")
    # The same operations, in another order of sums.
    for each, other in zip(eager, compiled, strict=True):
        np.testing.assert_allclose(each, other, rtol=1e-5, atol=1e-6)


EXTREMES = {
    "all padding": (LOGITS, TOP_K, "softmax", np.zeros((3, 5), bool)),
    "large logits": (1e4 * LOGITS, TOP_K, "softmax", None),
    "large logits, sigmoid": (1e4 * LOGITS, TOP_K, "sigmoid", None),
    "underflow": (LOGITS - 200.0, TOP_K, "sigmoid", MASK),
    "equal logits": (0.0 * LOGITS, TOP_K, "softmax", None),
    "K = E": (LOGITS, EXPERTS, "softmax", None),
    "one token": (LOGITS[:1, :1], 1, "softmax", None),
    "one expert": (LOGITS[..., :1], 1, "softmax", None),
    "rank two": (LOGITS[0], TOP_K, "softmax", MASK[0]),
}


# Other shapes come last: each compiles anew on JAX.
@pytest.mark.sweep
@pytest.mark.parametrize("case", EXTREMES)
def test_extreme_inputs_are_finite_forward_and_backward(case, vjp):
    logits, top_k, score_function, mask = EXTREMES[case]
    num_experts = logits.shape[-1]
    rules = all_rules(without="expert_bias")
    for rule in rules:
        if num_experts == 1 and hasattr(rule, "num_groups"):
            rule.num_groups = 1

    def losses(logits):
        plan = choose_top_k(logits, top_k, score_function, padding_mask=mask)
        plan = with_noise(plan, 0.0 * logits, 1 / num_experts)
        plan = count_tokens(plan, num_experts)
        values = [rule(plan) for rule in rules]
        return ops.stack([each for each in values if each is not None])

    values, (gradient,) = vjp(
        losses,
        (logits.astype("float32"),),
        np.ones(len({*RULES} - STATE)),
    )
    assert np.all(np.isfinite(values)), values
    assert np.all(np.isfinite(gradient))
    assert gradient.shape == logits.shape
    if case == "all padding":
        assert not np.any(values)
        assert not np.any(gradient)
    for name in STATE:
        router = TopKRouter(
            num_experts,
            top_k,
            score_function=score_function,
            balancing=name,
            kernel_initializer="identity",
        )
        router(logits.astype("float32"), padding_mask=mask, training=True)
        bias = ops.convert_to_numpy(router.expert_bias)
        assert np.all(np.isfinite(bias))
        if case == "all padding":
            assert not np.any(bias)
