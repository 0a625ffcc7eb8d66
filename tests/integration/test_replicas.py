"""A batch that replicas share is trained as on one device."""

import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_moe

if keras.config.backend() == "jax":
    pytest.skip("JAX has one program", allow_module_level=True)

# Processes of their own; TensorFlow compiles the model twice.
if keras.config.backend() == "tensorflow":
    pytestmark = pytest.mark.exhaustive

SCRIPT = pathlib.Path(__file__).with_name("replicas.py")
# Losses up to 10, and gradients up to 2 of about a hundred terms.
TOLERANCES = {"rtol": 1e-6, "atol": 1e-6}


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    folder = tmp_path_factory.mktemp("replicas")
    command = [sys.executable, SCRIPT, folder / "result.npz"]
    commands = [command]
    if keras.config.backend() == "torch":
        commands = [[*command, str(rank), folder / "store"] for rank in (0, 1)]
    package = str(pathlib.Path(keras_moe.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": package}
    processes = [
        subprocess.Popen(each, env=environment, stderr=subprocess.PIPE)
        for each in commands
    ]
    try:
        errors = [each.communicate(timeout=300)[1] for each in processes]
    finally:
        for each in processes:
            each.kill()
    assert not any(each.returncode for each in processes), errors[0].decode()
    return dict(np.load(folder / "result.npz"))


def compared(seen, scope):
    """Yield a name and its values on replicas and on one device."""
    for name, values in seen.items():
        first, _, rest = name.partition("/")
        if first == scope:
            yield rest, values, seen[f"one_device/{rest}"]


def test_replicas_train_the_balance_of_the_whole_batch(seen):
    # The learning rate is 1, so a weight differs as its gradient does. The
    # biases, the logs and the statistics are among the names.
    names = []
    for name, values, expected in compared(seen, "batch"):
        np.testing.assert_allclose(values, expected, **TOLERANCES, err_msg=name)
        names.append(name)
    assert "logs/loss" in names
    assert "weights/7" in names
    assert "tokens/sparse_1" in names


@pytest.mark.skipif(
    keras.config.backend() != "torch", reason="one more program to compile"
)
def test_a_replica_balances_its_own_tokens_on_request(seen):
    differences = {
        name: np.abs(values - expected).max()
        for name, values, expected in compared(seen, "replica")
    }
    assert differences["logs/loss"] > 0.1
    assert differences["weights/0"] > 0.1  # The first router's kernel.
    # What has no scope is of the whole batch all the same: the biases.
    assert differences["weights/1"] == 0
