"""The two losses of 1991: equations 1.1 and 1.3, in NumPy."""

import numpy as np
import pytest
from keras import ops

from keras_moe.losses import BlendError
from keras_moe.losses import MixtureNegativeLogLikelihood
from keras_moe.losses import blend

CASES, EXPERTS, UNITS = 5, 3, 2


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def make_case():
    """Return targets, outputs, weights and what a layer makes of these."""
    targets = draw(CASES, UNITS)
    outputs, logits = draw(CASES, EXPERTS, UNITS + 1, seed=1), draw(CASES, 3)
    weights = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    outputs[..., -1] = np.log(weights)
    return targets, outputs[..., :-1], weights, outputs


def error_of_the_blend(targets, outputs, weights):
    blended = np.einsum("ce,ced->cd", weights, outputs)
    residual = targets - blended
    # d ||r||^2 / d o_i = -2 p_i r, d / d log p_i = -2 p_i r o_i.
    d_outputs = -2 * weights[..., None] * residual[:, None]
    d_logs = np.sum(d_outputs * outputs, axis=-1, keepdims=True)
    return np.sum(residual**2, axis=1), d_outputs, d_logs


def likelihood(targets, outputs, weights):
    residual = targets[:, None] - outputs
    joint = weights * np.exp(-0.5 * np.sum(residual**2, axis=-1))
    total = joint.sum(axis=1, keepdims=True)
    posterior = (joint / total)[..., None]
    # An expert learns in proportion to its share of the likelihood.
    return -np.log(total[:, 0]), -posterior * residual, -posterior


@pytest.mark.parametrize(
    ("loss_class", "formula"),
    [
        (BlendError, error_of_the_blend),
        (MixtureNegativeLogLikelihood, likelihood),
    ],
)
def test_values_and_gradients_are_those_of_the_paper(loss_class, formula, vjp):
    targets, outputs, weights, mixture = make_case()
    loss = loss_class(reduction=None)
    cotangent = draw(CASES, seed=2)
    values, (gradient,) = vjp(
        lambda mixture: loss(targets, mixture), (mixture,), cotangent
    )
    expected, *gradients = formula(
        *(each.astype("float64") for each in (targets, outputs, weights))
    )
    np.testing.assert_allclose(values, expected, rtol=1e-5)
    np.testing.assert_allclose(
        gradient,
        cotangent[:, None, None] * np.concatenate(gradients, axis=-1),
        rtol=1e-4,
        atol=1e-6,
    )
    mean = float(ops.convert_to_numpy(loss_class()(targets, mixture)))
    assert mean == pytest.approx(expected.mean(), rel=1e-5)
    revived = loss_class.from_config(loss_class().get_config())
    assert revived.name == loss_class().name


def test_far_targets_leave_the_likelihood_finite(vjp):
    _, _, _, mixture = make_case()
    targets = np.full((CASES, UNITS), 1e4, "float32")
    mixture[..., -1] = [0.0, -1e4, -2e4]
    values, (gradient,) = vjp(
        lambda mixture: MixtureNegativeLogLikelihood(None)(targets, mixture),
        (mixture,),
        np.ones(CASES, "float32"),
    )
    assert np.isfinite(values).all()
    assert np.isfinite(gradient).all()


@pytest.mark.once
def test_the_blend_is_the_weighted_average():
    _, outputs, weights, mixture = make_case()
    np.testing.assert_allclose(
        ops.convert_to_numpy(blend(mixture)),
        np.einsum("ce,ced->cd", weights, outputs),
        rtol=1e-4,
    )
