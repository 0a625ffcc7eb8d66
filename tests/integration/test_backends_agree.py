"""The same weights give the same routing, outputs and files on all backends.

Two child processes for the two other backends; run once, under JAX.
"""

import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_moe

if keras.config.backend() != "jax":
    pytest.skip("runs once, under JAX", allow_module_level=True)

# Three processes that import a framework each.
pytestmark = [
    pytest.mark.exhaustive,
    pytest.mark.slow,
    pytest.mark.timeout(900),
]

BACKENDS = ("jax", "torch", "tensorflow")
SCRIPT = pathlib.Path(__file__).with_name("exchange_models.py")
RESULTS = ("outputs", "expert_indices", "combine_weights")


@pytest.fixture(scope="module")
def exchanged(tmp_path_factory):
    """The folder with what each backend reads from each backend's file."""
    for backend in BACKENDS[1:]:
        pytest.importorskip(backend)
    folder = tmp_path_factory.mktemp("exchange")
    package = str(pathlib.Path(keras_moe.__file__).parents[1])
    children = {
        backend: subprocess.Popen(
            [sys.executable, SCRIPT, folder, *BACKENDS],
            env={
                **os.environ,
                "KERAS_BACKEND": backend,
                "PYTHONPATH": package,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for backend in BACKENDS
    }
    for backend, child in children.items():
        output, _ = child.communicate()
        assert child.returncode == 0, f"{backend}:\n{output}"
    return folder


@pytest.fixture(scope="module")
def results(exchanged):
    return {
        (reader, writer): dict(np.load(exchanged / f"{reader}-{writer}.npz"))
        for reader in BACKENDS
        for writer in BACKENDS
    }


@pytest.mark.parametrize("reader", BACKENDS[1:])
def test_routing_and_outputs_are_the_same(results, reader):
    expected, actual = results["jax", "jax"], results[reader, reader]
    np.testing.assert_array_equal(
        actual["expert_indices"], expected["expert_indices"]
    )
    for name in ("outputs", "combine_weights"):
        scale = np.max(np.abs(expected[name]))
        error = np.max(np.abs(actual[name] - expected[name]))
        assert error <= 1e-5 * scale, name


@pytest.mark.parametrize("writer", BACKENDS)
@pytest.mark.parametrize("reader", BACKENDS)
def test_a_file_of_one_backend_loads_on_every_other_bit_for_bit(
    results, reader, writer
):
    written, read = results[writer, writer], results[reader, writer]
    weights = [name for name in written if name not in RESULTS]
    # The shown router's 1, gated 3, plain 3, shared 3 + 3 and a gate.
    assert len(weights) == 14
    for name in weights:
        assert read[name].dtype == np.float32
        np.testing.assert_array_equal(read[name], written[name])
    # And so it computes what the reader's own file gives.
    for name in RESULTS:
        np.testing.assert_array_equal(read[name], results[reader, reader][name])


@pytest.mark.parametrize("writer", BACKENDS)
@pytest.mark.parametrize("reader", BACKENDS)
def test_a_task_goes_on_with_its_optimizer_on_every_other(
    exchanged, reader, writer
):
    written, read = (
        dict(np.load(exchanged / f"trained-{each}-{writer}.npz"))
        for each in (writer, reader)
    )
    assert {*read} == {*written}
    # 21 weights, two averages of each, the learning rate and the iteration.
    assert len(read) == 3 * 21 + 2
    for name in written:
        np.testing.assert_array_equal(read[name], written[name], err_msg=name)
