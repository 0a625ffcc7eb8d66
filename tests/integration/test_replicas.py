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
pytestmark = pytest.mark.exhaustive

SCRIPT = pathlib.Path(__file__).with_name("replicas.py")
# Losses up to 10, and gradients up to 2 of about a hundred terms.
TOLERANCES = {"rtol": 1e-6, "atol": 1e-6}


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    folder = tmp_path_factory.mktemp("replicas")
    command = [sys.executable, SCRIPT, folder / "result"]
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
    return [
        dict(np.load(folder / f"result.{rank}.npz"))
        for rank, _ in enumerate(commands)
    ]


def compared(seen, scope, expected="one_device"):
    """Yield a name and its values on replicas and on one device."""
    for of_process in seen:
        for name, values in of_process.items():
            first, _, rest = name.partition("/")
            if first == scope:
                yield rest, values, seen[0].get(f"{expected}/{rest}")


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


only_torch = pytest.mark.skipif(
    keras.config.backend() != "torch", reason="of processes"
)


@only_torch
def test_a_replica_balances_its_own_tokens_on_request(seen):
    differences = {
        name: np.abs(values - expected).max()
        for name, values, expected in compared(seen, "replica")
    }
    assert differences["logs/loss"] > 0.1
    assert differences["weights/0"] > 0.1  # The first router's kernel.
    # What has no scope is of the whole batch all the same: the biases.
    assert differences["weights/1"] == 0


@only_torch
@pytest.mark.parametrize("name", ["processes", "experts_for_epochs"])
def test_processes_fit_as_one_does(seen, name):
    # Weights and order of the data are those of the first process, also where
    # the last batch has a single row.
    names = []
    for key, values, expected in compared(seen, name, "one_process"):
        if key != "rows" and expected is not None:
            # Adam divides by the root of a sum of squares, at first by the
            # gradient's own size: steps of 0.01, six, each to 1e-5.
            np.testing.assert_allclose(values, expected, atol=1e-5, err_msg=key)
            names.append(key)
    assert {"logs/mae", "logs/val_loss", "weights/0", "weights/5"} < {*names}


@only_torch
def test_processes_read_every_row_once_and_share_an_odd_one(seen):
    first, second = (each["processes/rows"].tolist() for each in seen)
    for epoch in (0, 1):
        # Two batches of 4 rows, of which each process has 2; then one row.
        a, b = (rows[5 * epoch : 5 * epoch + 5] for rows in (first, second))
        assert a[4] == b[4]
        assert sorted([*a, *b[:4]]) == list(range(9))


@only_torch
def test_experts_in_different_processes_train_as_in_one(seen):
    # The gradients are among the differences of the weights, by SGD of rate 1.
    for name, values, expected in compared(seen, "experts"):
        np.testing.assert_allclose(values, expected, **TOLERANCES, err_msg=name)
    sizes = seen[1]["experts_for_epochs/sizes"].tolist()
    assert sizes == [6, 2, 2, 6, 2, 2]  # Routers' kernels, two of four experts.


@only_torch
def test_a_process_without_tokens_takes_part(seen):
    for name, values, expected in compared(
        seen, "two_experts_of_one_process", "two_experts"
    ):
        np.testing.assert_allclose(values, expected, **TOLERANCES, err_msg=name)


@only_torch
def test_weights_are_saved_whole_and_loaded_in_parts(seen):
    for of_process in seen:
        for index in range(6):
            trained, again, whole = (
                of_process[f"experts_for_epochs/{kind}weights/{index}"]
                for kind in ("", "saved/", "saved_whole/")
            )
            np.testing.assert_array_equal(again, trained)
            np.testing.assert_array_equal(whole, trained)


@only_torch
def test_a_checkpoint_is_saved_whole_and_restored_in_parts(seen):
    for of_process in seen:
        trained, resumed, whole = (
            {
                name.partition(f"/{kind}/")[2]: values
                for name, values in of_process.items()
                if f"/{kind}/" in name
            }
            for kind in ("trained", "resumed", "resumed_whole")
        )
        # Six weights and Adam's two slots of each are compared, and its step.
        assert {"model/5", "optimizer/13"} < {*trained}
        assert trained.keys() == resumed.keys() == whole.keys()
        for name, values in trained.items():
            np.testing.assert_array_equal(resumed[name], values, err_msg=name)
            np.testing.assert_array_equal(whole[name], values, err_msg=name)
        # Three batches in each of two epochs.
        assert of_process["experts_for_epochs/steps"] == 6
