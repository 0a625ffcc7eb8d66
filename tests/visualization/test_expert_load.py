import sys

import numpy as np
import pytest

from keras_moe.visualization import plot_expert_load

# NumPy and matplotlib.
pytestmark = pytest.mark.once

# 3 reports of 4 experts
LOAD = np.array(
    [[0.25, 0.25, 0.25, 0.25], [0.5, 0.5, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]]
)


@pytest.fixture
def figure():
    pytest.importorskip("matplotlib")
    loads = {f"block_{n}": LOAD for n in range(5)}
    return plot_expert_load(loads, steps=[10, 20, 40])


def test_draws_one_panel_per_layer_and_a_scale(figure, tmp_path):
    titles = [axes.get_title() for axes in figure.axes]

    # 5 panels in a grid of 2 x 3 leave one place, which stays empty.
    assert titles == [f"block_{n}" for n in range(5)] + [""]
    figure.savefig(tmp_path / "load.png")
    assert (tmp_path / "load.png").stat().st_size > 10_000


def test_an_equal_share_is_one_whatever_the_number_of_experts(figure):
    image = figure.axes[0].images[0]

    # (E, reports): experts downwards, time to the right
    np.testing.assert_array_equal(
        image.get_array(), [[1, 2, 4], [1, 2, 0], [1, 0, 0], [1, 0, 0]]
    )
    assert image.get_clim() == (0.0, 2.0)


def test_time_is_labelled_with_the_steps(figure):
    labels = [each.get_text() for each in figure.axes[0].get_xticklabels()]

    assert labels == ["10", "20", "40"]


def test_without_steps_reports_are_counted():
    pytest.importorskip("matplotlib")
    figure = plot_expert_load({"moe": LOAD})

    labels = [each.get_text() for each in figure.axes[0].get_xticklabels()]
    assert labels == ["0", "1", "2"]


@pytest.mark.parametrize(
    "loads", [{}, {"moe": np.zeros((0, 4))}, {"moe": np.zeros(4)}]
)
def test_nothing_to_draw_is_an_error(loads):
    pytest.importorskip("matplotlib")
    with pytest.raises(ValueError, match="at least one report. Received"):
        plot_expert_load(loads)


@pytest.mark.parametrize(
    ("loads", "steps"),
    [({"moe": LOAD}, [1, 2]), ({"one": LOAD, "other": LOAD[:2]}, None)],
)
def test_numbers_of_reports_that_differ_are_an_error(loads, steps):
    pytest.importorskip("matplotlib")
    with pytest.raises(ValueError, match="one row per step in every array"):
        plot_expert_load(loads, steps)


def test_a_missing_matplotlib_is_an_error_with_the_cure(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)

    with pytest.raises(
        ImportError, match=r"matplotlib: pip install 'keras-moe\[visual"
    ):
        plot_expert_load({"moe": LOAD})
