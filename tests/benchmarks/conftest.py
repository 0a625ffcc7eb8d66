"""What the tests of the benchmarks share."""

from pathlib import Path

import pytest


@pytest.fixture
def benchmarks():
    """The folder of the benchmarks."""
    return Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def _importable(monkeypatch, benchmarks):
    # They are scripts, which import each other from their own folder.
    monkeypatch.syspath_prepend(benchmarks)
