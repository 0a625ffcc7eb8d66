"""The benchmark of routers runs, in a small setting."""

import importlib
from argparse import Namespace

import pytest

from keras_moe.layers import ROUTERS


@pytest.mark.once
@pytest.mark.parametrize("rows", [False, True])
def test_the_table_has_a_row_for_each_router(rows):
    routers = importlib.import_module("routers")
    sizes = Namespace(
        rounds=1,
        num_experts=8,
        top_k=2,
        tokens=16,
        hidden_dim=4,
        intermediate_dim=2,
        training=False,
    )
    made = routers.savings(sizes) if rows else routers.kinds(sizes)
    lines = routers.table(sizes, made).splitlines()
    labels = [line.split("|")[1].strip() for line in lines[2 : 2 + len(made)]]
    assert labels == list(made)
    assert rows or labels == list(ROUTERS)
