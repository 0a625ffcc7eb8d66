"""The hand-derived gradients against central differences of the forward."""

import numpy as np
import pytest

from keras_moe.testing import moe
from keras_moe.testing import moe_gradients
from keras_moe.testing.balance_oracle import share
from keras_moe.testing.balance_oracle import tokens_per_expert

# The oracles are NumPy.
pytestmark = pytest.mark.once

MASK = np.array([[True, True, False, True, True], [True] * 4 + [False]])


def objective(mixture, cotangent, balance_weight, z_weight, settings):
    result = moe(*mixture, **settings)
    return (
        np.sum(result.outputs * cotangent)
        + balance_weight * result.load_balancing_loss
        + z_weight * result.router_z_loss
    )


def check(mixture, numerical_gradient, balance_weight, z_weight, **settings):
    """Compare every gradient with central differences."""
    routing = moe(*mixture, **settings).routing
    # Away from ties: a step of 1e-6 must change neither the choice of experts
    # nor the order of the tokens, where the function jumps.
    assert np.all(np.diff(np.sort(routing.logits, axis=-1)) > 1e-3)
    if settings.get("priority") == "score":
        best = np.max(routing.probs, axis=-1)
        assert np.all(np.diff(np.sort(best)) > 1e-4)
    cotangent = np.random.default_rng(9).standard_normal(mixture.inputs.shape)
    gradients = moe_gradients(
        *mixture,
        cotangent,
        load_balancing_loss_weight=balance_weight,
        router_z_loss_weight=z_weight,
        **settings,
    )
    assert gradients._fields == mixture._fields
    for name in mixture._fields:
        value = getattr(mixture, name)
        gradient = getattr(gradients, name)
        if value is None:
            assert gradient is None
            continue

        def loss(changed, name=name):
            return objective(
                mixture._replace(**{name: changed}),
                cotangent,
                balance_weight,
                z_weight,
                settings,
            )

        np.testing.assert_allclose(
            gradient,
            numerical_gradient(loss, value),
            rtol=1e-6,
            atol=2e-8,
            err_msg=name,
        )
    return gradients


@pytest.mark.parametrize("score_function", ["softmax", "sigmoid"])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("top_k", [1, 2, 3])
def test_router_settings(
    score_function, normalize, top_k, make_mixture, numerical_gradient
):
    check(
        make_mixture(),
        numerical_gradient,
        0.7,
        0.3,
        top_k=top_k,
        score_function=score_function,
        normalize=normalize,
        route_scale=1.7,
        padding_mask=MASK,
    )


@pytest.mark.parametrize("gated", [True, False])
@pytest.mark.parametrize("activation", ["silu", "gelu", "gelu_tanh", "relu"])
def test_experts(gated, activation, make_mixture, numerical_gradient):
    check(
        make_mixture(gated=gated),
        numerical_gradient,
        0.7,
        0.3,
        top_k=2,
        activation=activation,
    )


@pytest.mark.parametrize("priority", ["position", "score"])
@pytest.mark.parametrize("score_function", ["softmax", "sigmoid"])
@pytest.mark.parametrize("normalize", [True, False])
def test_capacity(
    priority, score_function, normalize, make_mixture, numerical_gradient
):
    settings = {
        "top_k": 2,
        "score_function": score_function,
        "normalize": normalize,
        "capacity_factor": 0.25,  # ceil(0.25 * 5 * 2 / 3) = 1
        "priority": priority,
        "padding_mask": MASK,
    }
    mixture = make_mixture()
    kept = moe(*mixture, **settings).kept
    # Real tokens with no, one and both of their choices left.
    assert set(kept.sum(axis=-1)[MASK].tolist()) == {0, 1, 2}
    check(mixture, numerical_gradient, 0.7, 0.3, **settings)


@pytest.mark.parametrize("score_function", ["softmax", "sigmoid"])
@pytest.mark.parametrize("normalize", [True, False])
def test_a_single_expert(
    score_function, normalize, make_mixture, numerical_gradient
):
    gradients = check(
        make_mixture(num_experts=1),
        numerical_gradient,
        0.7,
        0.0,
        top_k=1,
        score_function=score_function,
        normalize=normalize,
    )
    # The weight is 1 whatever the logit: the router has nothing to learn.
    if normalize or score_function == "softmax":
        np.testing.assert_allclose(gradients.router_kernel, 0.0, atol=1e-15)
    else:
        assert np.all(gradients.router_kernel != 0.0)


@pytest.mark.parametrize(
    ("balance_weight", "z_weight"), [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0)]
)
def test_each_loss_alone(
    balance_weight, z_weight, make_mixture, numerical_gradient
):
    check(
        make_mixture(num_experts=4, shape=(1, 6, 3)),
        numerical_gradient,
        balance_weight,
        z_weight,
        top_k=2,
    )


def test_one_token(make_mixture, numerical_gradient):
    mixture = make_mixture(shape=(1, 1, 3))
    gradients = check(mixture, numerical_gradient, 0.7, 0.3, top_k=2)
    idle = set(range(3)) - set(
        moe(*mixture, top_k=2).routing.expert_indices.reshape(-1).tolist()
    )
    # The expert nobody chose learns nothing; its router column does, from the
    # losses.
    for e in idle:
        assert not np.any(gradients.gate_kernel[e])
        assert not np.any(gradients.up_kernel[e])
        assert not np.any(gradients.down_kernel[e])
        assert np.any(gradients.router_kernel[:, e])


def test_all_tokens_to_one_expert(make_mixture, numerical_gradient):
    mixture = make_mixture()
    mixture.inputs[...] = np.abs(mixture.inputs) + 0.1
    mixture.router_kernel[:, 1] += 3.0  # expert 1 wins with positive inputs
    routing = moe(*mixture, top_k=1).routing
    assert np.all(routing.expert_indices == 1)
    gradients = check(mixture, numerical_gradient, 0.7, 0.3, top_k=1)
    assert not np.any(gradients.up_kernel[[0, 2]])


def test_the_pair_counts_of_the_balance_loss_are_constants(make_mixture):
    # With f held still, the balance loss is linear in the mean shares; its
    # gradient on the logits, by the softmax Jacobian written as a matrix.
    mixture = make_mixture(shape=(1, 4, 3))
    routing = moe(*mixture, top_k=2).routing
    gradients = moe_gradients(
        *mixture,
        np.zeros((1, 4, 3)),
        top_k=2,
        load_balancing_loss_weight=1.0,
    )
    f = tokens_per_expert(routing.expert_indices, 3) / 4
    expected = np.zeros((3, 3))
    for token, probs in zip(mixture.inputs[0], routing.probs[0], strict=True):
        jacobian = np.diag(probs) - np.outer(probs, probs)
        expected += np.outer(token, jacobian @ f) * 3 / 2 / 4
    np.testing.assert_allclose(gradients.router_kernel, expected, rtol=1e-12)
    np.testing.assert_allclose(share(routing.probs[0, 0]).sum(), 1.0)


def test_padding_has_no_gradient_even_when_it_is_nan(make_mixture):
    mixture = make_mixture()
    arguments = {
        "top_k": 2,
        "load_balancing_loss_weight": 0.7,
        "router_z_loss_weight": 0.3,
        "padding_mask": MASK,
    }
    cotangent = np.ones(mixture.inputs.shape)
    expected = moe_gradients(*mixture, cotangent, **arguments)
    mixture.inputs[~MASK] = np.nan
    cotangent[~MASK] = np.nan
    received = moe_gradients(*mixture, cotangent, **arguments)
    assert not np.any(received.inputs[~MASK])
    for a, b in zip(received, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_nothing_real_has_no_gradient(make_mixture):
    mixture = make_mixture()
    gradients = moe_gradients(
        *mixture,
        np.ones(mixture.inputs.shape),
        top_k=2,
        load_balancing_loss_weight=1.0,
        router_z_loss_weight=1.0,
        padding_mask=np.zeros((2, 5), dtype=bool),
    )
    for gradient in gradients:
        assert not np.any(gradient)


def test_sigmoid_scores_that_all_underflow_have_the_gradient_of_softmax(
    make_mixture,
):
    # sigmoid(x) = exp(x) to float64 accuracy below -37, and the common factor
    # of a token's scores drops out.
    mixture = make_mixture()
    mixture.router_kernel[0] -= 1e6
    mixture.inputs[..., 0] = 1.0
    gradients = {
        score_function: moe_gradients(
            *mixture,
            np.ones(mixture.inputs.shape),
            top_k=2,
            score_function=score_function,
            load_balancing_loss_weight=1.0,
        )
        for score_function in ("sigmoid", "softmax")
    }
    for actual, expected in zip(*gradients.values(), strict=True):
        assert np.any(expected)
        # Logits of a million are rounded to 1e-10.
        np.testing.assert_allclose(actual, expected, rtol=1e-7, atol=1e-9)
