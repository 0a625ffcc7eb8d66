"""The page on routing names every router, every rule and every slot order."""

from pathlib import Path

import pytest

from keras_moe.balancing.get_rules import RULES
from keras_moe.layers import ROUTERS
from keras_moe.routing.slot_assignment import PRIORITIES

# Reads Markdown.
pytestmark = pytest.mark.once

PAGE = (Path(__file__).parents[2] / "docs" / "routing.md").read_text("utf-8")


@pytest.mark.parametrize("table", [ROUTERS, RULES], ids=["routers", "rules"])
def test_the_page_has_a_row_for_every_name(table):
    rows = [line for line in PAGE.splitlines() if line.startswith("|")]
    for name, each in table.items():
        assert any(name in row and each.__name__ in row for row in rows), name
        assert each.source and "\n" not in each.source


@pytest.mark.parametrize("priority", PRIORITIES)
def test_the_page_says_who_gets_a_slot(priority):
    assert f'priority="{priority}"' in PAGE


def test_tests_that_the_page_names_exist():
    root = Path(__file__).parents[2]
    for word in PAGE.replace("`", " ").split():
        if word.startswith("tests/") and word.rstrip(",;:").endswith(".py"):
            assert (root / word.rstrip(",;:")).is_file(), word
