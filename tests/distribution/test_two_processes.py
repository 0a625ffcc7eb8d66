"""Two processes with four devices each train as one device does."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

if keras.config.backend() != "jax":
    pytest.skip("experts are distributed on JAX", allow_module_level=True)

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "train_on_a_mesh.py"
DEVICES = "--xla_force_host_platform_device_count"


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])


def run(commands, num_devices, environments=None):
    """Run processes side by side; return what the first one prints."""
    children = [
        subprocess.Popen(
            [sys.executable, *map(str, command)],
            env={
                **os.environ,
                "JAX_PLATFORMS": "cpu",
                "PYTHONPATH": str(ROOT),
                "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} "
                f"{DEVICES}={num_devices}",
                **(environments[rank] if environments else {}),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, command in enumerate(commands)
    ]
    printed = [child.communicate(timeout=500) for child in children]
    for child, (_, errors) in zip(children, printed, strict=True):
        assert child.returncode == 0, errors[-3000:]
    return printed[0][0]


@pytest.mark.slow
@pytest.mark.exhaustive
def test_two_processes_train_as_one_device_does(tmp_path):
    script, port = Path(__file__).with_name("two_processes.py"), free_port()
    files = [tmp_path / "one.npz", tmp_path / "two.npz"]
    run([[script, 1, 0, port, files[0]]], num_devices=1)
    run([[script, 2, rank, port, files[1]] for rank in (0, 1)], num_devices=4)
    one, two = map(np.load, files)
    assert len(two.files) == 2 * len(one.files)
    for name in two.files:
        expected = one[re.sub(r"^\(\d, \d\)", "None", name)]
        np.testing.assert_allclose(two[name], expected, atol=1e-6)


@pytest.mark.slow
@pytest.mark.exhaustive
def test_the_example_prints_the_same_losses_everywhere():
    address = f"127.0.0.1:{free_port()}"
    two = [
        {
            "KERAS_DISTRIBUTION_NUM_PROCESSES": "2",
            "KERAS_DISTRIBUTION_JOB_ADDRESSES": address,
            "KERAS_DISTRIBUTION_PROCESS_ID": str(rank),
        }
        for rank in (0, 1)
    ]
    printed = [
        run([[EXAMPLE]], num_devices=1),
        run([[EXAMPLE, "--data=2"]], num_devices=8),
        run([[EXAMPLE, "--data=2"]] * 2, num_devices=4, environments=two),
    ]
    assert "1 devices: {'data': 1, 'expert': 1}" in printed[0]
    for each in printed[1:]:
        assert "8 devices: {'data': 2, 'expert': 4}" in each
    losses = [
        [float(loss) for loss in re.findall(r"\d\.\d{6}", each)]
        for each in printed
    ]
    assert len(losses[0]) == 3
    # Printed with 6 digits behind the point.
    np.testing.assert_allclose(losses[1:], [losses[0]] * 2, atol=2e-6)
