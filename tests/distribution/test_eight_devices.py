"""Runs the tests that need several devices: on eight virtual ones."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
NAMES = ("distribution", "dispatch", "ops/jax", "cli/test_mesh.py")
FOLDERS = [TESTS / name for name in NAMES]


@pytest.mark.slow
def test_all_is_well_on_eight_virtual_devices(backend, request):
    if backend != "jax":
        pytest.skip("JAX alone makes virtual devices")
    flags = "--xla_force_host_platform_device_count=8"
    if flags in os.environ.get("XLA_FLAGS", ""):
        pytest.skip("the tests run in this process")
    # The marker expression of this run, as `make test-all` has another one.
    markers = request.config.getoption("markexpr") or "not large"
    child = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        + [*map(str, FOLDERS), "-m", f"multi_device and ({markers})"],
        env={
            **os.environ,
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {flags}",
        },
        capture_output=True,
        text=True,
    )
    assert child.returncode == 0, child.stdout[-5000:] + child.stderr[-2000:]
