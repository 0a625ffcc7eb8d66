"""The benchmark of meshes runs, in a small setting."""

import importlib
from argparse import Namespace

import keras
import pytest

if keras.config.backend() != "jax":
    pytest.skip("compiles for JAX", allow_module_level=True)

SIZES = Namespace(rows=2, tokens=8, hidden_dim=4, intermediate_dim=8)
# Heads have two features, at least.
SIZES_OF_DECODER = Namespace(**{**vars(SIZES), "hidden_dim": 16})


@pytest.mark.exhaustive
def test_the_table_has_a_row_for_each_way():
    mesh = importlib.import_module("mesh")
    header, _, *rows = mesh.table([1], SIZES).splitlines()
    assert header.startswith("| devices | way | weights and slots |")
    assert [row.split(" | ")[1] for row in rows] == list(mesh.WAYS)
    for row in rows:
        # One device sends nothing.
        assert row.endswith("| 0 | 0 | 0 | 0 |")


@pytest.mark.exhaustive
def test_a_decoder_has_a_row_for_each_way_to_split_its_weights():
    mesh = importlib.import_module("mesh")
    _, _, *rows = mesh.decoder_table(1, SIZES_OF_DECODER).splitlines()
    assert [row.split(" | ")[0] for row in rows] == [
        *("| None", "| 'full'", "| 'tensor'")
    ]
    assert all(row.endswith("| 0 | 0 | 0 | 0 |") for row in rows)
