"""The benchmark of meshes runs, in a small setting."""

import importlib
from argparse import Namespace

import keras
import pytest

if keras.config.backend() != "jax":
    pytest.skip("compiles for JAX", allow_module_level=True)

SIZES = Namespace(rows=2, tokens=8, hidden_dim=4, intermediate_dim=8)


@pytest.mark.exhaustive
def test_the_table_has_a_row_for_each_way():
    mesh = importlib.import_module("mesh")
    header, _, *rows = mesh.table([1], SIZES).splitlines()
    assert header.startswith("| devices | way | weights and slots |")
    assert [row.split(" | ")[1] for row in rows] == list(mesh.WAYS)
    for row in rows:
        # One device sends nothing.
        assert row.endswith("| 0 | 0 | 0 | 0 |")
