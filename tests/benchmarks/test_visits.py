"""The benchmark of visited devices runs, in a small setting."""

import importlib
from argparse import Namespace

import pytest

SIZES = Namespace(
    processes=2, groups=[2, 1], experts=16, tokens=16, hidden_dim=8
)


@pytest.mark.once
@pytest.mark.exhaustive
def test_processes_send_the_rows_that_numpy_counts():
    visits = importlib.import_module("visits")
    header, _, *rows = visits.table(SIZES).splitlines()
    assert header.startswith("| groups of a token | devices it visits |")
    for row, most in zip(rows, (2, 1), strict=True):
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        _, visited, by_numpy, sent, pairs = cells
        assert visited == by_numpy
        assert 1 <= float(visited) <= most
        # With 8 experts in one or two places, a token sends fewer rows.
        assert float(sent) < float(pairs)
