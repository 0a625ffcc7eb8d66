"""Numbers of all replicas of a `tf.distribute` strategy."""

import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_moe
from keras_moe import testing

if keras.config.backend() != "tensorflow":
    pytest.skip("strategies are TensorFlow's", allow_module_level=True)

# A process that imports TensorFlow.
pytestmark = pytest.mark.exhaustive

SCRIPT = pathlib.Path(__file__).with_name("two_replicas.py")
RATE = 0.125


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    file = tmp_path_factory.mktemp("replicas") / "result.npz"
    package = str(pathlib.Path(keras_moe.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": package}
    subprocess.run(
        [sys.executable, SCRIPT, file],
        env=environment,
        check=True,
        capture_output=True,
        timeout=300,
    )
    return dict(np.load(file))


@pytest.fixture(scope="module")
def routed(seen):
    """Logits of all tokens, and the pairs on each expert for each half."""
    logits = seen["inputs"].astype("float64") @ seen["kernel"]
    chosen = np.argsort(-logits, axis=-1, kind="stable")[..., :2]
    loads = [
        np.bincount(half.ravel(), minlength=4)
        for half in (chosen[:4], chosen[4:])
    ]
    return logits, loads


def test_the_monitor_shows_the_tokens_of_all_replicas(seen, routed):
    logits, (first, second) = routed
    probs = np.exp(logits - logits.max(-1, keepdims=True))
    probs /= probs.sum(-1, keepdims=True)
    entropy = -np.sum(probs * np.log(probs), axis=-1)
    z = np.log(np.exp(logits).sum(-1)) ** 2
    # The halves differ, so that one alone would be seen.
    assert abs(z[:4].mean() - z.mean()) > 1.0
    np.testing.assert_allclose(seen["router_z_loss"], [z.mean()], rtol=1e-5)
    np.testing.assert_allclose(
        seen["router_entropy"], [entropy.mean()], rtol=1e-4
    )
    np.testing.assert_array_equal(seen["tokens_per_expert"], first + second)
    np.testing.assert_allclose(
        seen["max_violation"],
        [testing.max_violation(first + second)],
        rtol=1e-5,
    )
    assert seen["steps"] == 1


def test_the_bias_follows_the_load_of_all_replicas(seen, routed):
    _, (first, second) = routed
    of_sum = testing.expert_bias_update(first + second, RATE)
    of_each = [
        testing.expert_bias_update(load, RATE) for load in (first, second)
    ]
    assert np.any(np.mean(of_each, axis=0) != of_sum)
    for bias in seen["biases"]:
        np.testing.assert_array_equal(bias, of_sum)
