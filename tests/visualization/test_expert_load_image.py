import sys

import numpy as np
import pytest

pytest.importorskip("PIL")

from keras_moe.visualization import expert_load_image

# NumPy and Pillow.
pytestmark = pytest.mark.once

# 2 reports of 4 experts: 1, 1, 1, 1 and 0, 0.5, 0.5, 3 times the equal share
LOAD = np.array([[0.25, 0.25, 0.25, 0.25], [0.0, 0.125, 0.125, 0.75]])
WHITE, DARK_BLUE, DARK_RED = (247, 247, 247), (5, 48, 97), (103, 0, 31)
BLUE = (67, 147, 195)

# The first panel: left and top edge, width, height.
LEFT, TOP, WIDTH, HEIGHT = 68, 20, 300, 128


def test_experts_go_down_and_time_goes_right():
    image = expert_load_image({"moe": LOAD})

    def colour(report, expert):
        # In the middle of the cell: 2 reports, 4 experts.
        x = LEFT + WIDTH * (2 * report + 1) // 4
        return image.getpixel((x, TOP + HEIGHT * (2 * expert + 1) // 8))

    assert [colour(0, expert) for expert in range(4)] == [WHITE] * 4
    assert [colour(1, expert) for expert in range(4)] == [
        DARK_BLUE,
        BLUE,
        BLUE,
        DARK_RED,  # Three times the share, and no other colour than twice.
    ]


def test_every_layer_has_a_panel():
    one = expert_load_image({"moe": LOAD})
    five = expert_load_image({f"block_{n}": LOAD for n in range(5)})
    # 5 panels in a grid of 3 x 2
    assert five.width == 3 * one.width
    pixels = np.asarray(five)
    dark_red = np.all(pixels == DARK_RED, axis=-1)
    # 5 cells, the legend's box aside, which is smaller than a tenth of one.
    cell = WIDTH // 2 * HEIGHT // 4
    assert dark_red.sum() == pytest.approx(5 * cell, rel=0.1)


def test_many_reports_are_averaged():
    # 600 reports, every other one without a token for expert 0
    load = np.tile([[0.0, 1.0], [1.0, 0.0]], (300, 1))
    image = expert_load_image({"moe": load})
    # Twice the share and nothing, in turns, are the share.
    middle = image.getpixel((LEFT + WIDTH // 2, TOP + HEIGHT // 4))
    assert middle == WHITE


def test_many_experts_have_a_row_each():
    load = np.full((3, 256), 1 / 256)
    # 256 rows, the title, the steps, a gap, and the legend
    assert expert_load_image({"moe": load}).height == 256 + 5 * TOP


def test_long_names_are_cut_at_the_front():
    long = "/".join(["block"] * 40)
    short = expert_load_image({"moe": LOAD})
    assert expert_load_image({long: LOAD}).size == short.size


@pytest.mark.parametrize("loads", [{}, {"moe": np.zeros((0, 4))}])
def test_nothing_to_draw_is_an_error(loads):
    with pytest.raises(ValueError, match="at least one report. Received"):
        expert_load_image(loads)


def test_a_missing_pillow_is_an_error_with_the_cure(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)

    with pytest.raises(ImportError, match=r"pip install 'keras-moe\[tensorb"):
        expert_load_image({"moe": LOAD})
