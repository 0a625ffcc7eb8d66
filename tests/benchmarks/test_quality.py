"""The comparison of recipes: a small one, its record, its pictures."""

import importlib
import itertools
import re
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.once

RESULTS = Path(__file__).parents[2] / "docs" / "quality"
PAGE = Path(__file__).parents[2] / "docs" / "evidence.md"


def load(name):
    return importlib.import_module(name)


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(bytes(range(32, 127)) * 150)
    return path


@pytest.fixture
def compare(text, tmp_path):
    """Return a function that runs a tiny comparison and gives its runs."""

    def run(*arguments):
        out = tmp_path / "out"
        load("quality").main(
            [
                *arguments,
                "--scale=tiny",
                "--seeds=1",
                "--rounds=1",
                f"--text={text}",
                f"--out={out}",
            ]
        )
        return load("quality_report").read(out / "runs.jsonl")

    return run


def test_pairs_without_a_slot_are_counted_by_position():
    # Two slots for each of two experts. In the first row all first choices are
    # 0 and all second choices 1: the third token finds no slot for either. In
    # the second row nothing is dropped, and index 2 is nowhere.
    choices = np.array([[[0, 1], [0, 1], [0, 1]], [[0, 1], [1, 0], [2, 2]]])
    dropped = load("quality_training").dropped_by_position(
        choices, num_experts=2, slots=2
    )
    assert dropped.tolist() == [0.0, 0.0, 0.5]
    # With one slot, first choices take them all; no second choice finds any.
    one = load("quality_training").dropped_by_position(
        choices[1:], num_experts=2, slots=1
    )
    assert one.tolist() == [0.5, 0.5, 0.0]


def test_runs_that_are_there_are_not_repeated(compare, monkeypatch, tmp_path):
    runs = compare("capacity")
    group = load("quality_recipes").GROUPS["capacity"]
    assert [run["recipe"] for run in runs] == group.recipes
    for run in runs:
        assert 0.0 < run["held_out_loss"] < 20.0
        assert run["curves"]["step"] == [1.0, 2.0, 3.0, 4.0]
        assert 1.0 <= run["final"]["effective_experts"] <= 16.0
        assert run["rows_per_token"] == 2.0
    dropless, *limited = runs
    assert dropless["final"]["dropped_fraction"] == 0.0
    # The less room, the more is dropped: 4, 3 and 2 slots for 16 tokens.
    dropped = [run["final"]["dropped_fraction"] for run in limited]
    assert 0.0 < dropped[0] < dropped[1] < dropped[2]
    for run in limited:
        assert len(run["curves"]["dropped_by_position"]) == 16
        assert 0.0 < run["held_out_loss_dropless"] < 20.0
    assert (tmp_path / "out" / "capacity.svg").stat().st_size > 1000

    # What was killed in the middle is trained again, and nothing else.
    path = tmp_path / "out" / "runs.jsonl"
    path.write_text("".join(path.read_text().splitlines(True)[:-1]))
    trained = []

    def note(recipe, settings, advance):
        trained.append(recipe.router["capacity"].factor)
        return runs[-1]

    monkeypatch.setattr(load("quality"), "train", note)
    assert compare("capacity")[-1] == runs[-1]
    assert compare("capacity") == runs
    assert trained == [1.0]

    runs[0]["settings"]["steps"] = 5
    load("quality_report").write(path, runs)
    with pytest.raises(ValueError, match="Expected runs of the settings asked"):
        compare("capacity")


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "group",
    ["balancing", "longer", "routers", "experts", "rate", "rates", "pay"],
)
def test_every_recipe_trains(group, compare, monkeypatch):
    # Each model that is timed is a process of its own: two of the four will do.
    quality = load("quality")
    timed = itertools.islice(quality.TIMED.items(), 2)
    monkeypatch.setattr(quality, "TIMED", dict(timed))
    runs = compare(group)
    recipes = load("quality_recipes").GROUPS[group].recipes
    assert [run["recipe"] for run in runs] == recipes


def test_an_unknown_group_is_an_error_that_lists_the_known(capsys):
    with pytest.raises(SystemExit):
        load("quality").main(["speed"])
    assert "known: balancing" in capsys.readouterr().err


def some_runs(name, index):
    """Return two runs of a recipe, as `quality_training.train` gives them."""
    points = np.linspace(1, 600, 25)
    return [
        {
            "recipe": name,
            "seed": seed,
            "settings": {"sequence_length": 128},
            "held_out_loss": 1.5 + 0.01 * index + 0.02 * seed,
            "rows_per_token": 2.0,
            "final": {
                "max_violation": 0.5,
                "effective_experts": 15.5,
                "dropped_fraction": 0.1,
                "router_z_loss": 3.0,
            },
            "curves": {
                "step": points.tolist(),
                "loss": (2 + index / points).tolist(),
                "max_violation": (0.1 + index / points).tolist(),
                "router_z_loss": (3 + index * points).tolist(),
                "dropped_by_position": np.linspace(0, 0.1, 16).tolist(),
            },
        }
        for seed in (0, 1)
    ]


def test_a_cell_is_the_mean_and_the_farthest_seed():
    name, other = load("quality_recipes").GROUPS["rate"].recipes
    tables = load("quality_report").tables
    # Nothing to compare with.
    assert tables(some_runs(name, 0), {}) == ""
    runs = some_runs(name, 0) + some_runs(other, 1)[:1]
    lines = tables(runs, {}).splitlines()
    row, once = lines[4:6]
    assert once.startswith(f"| {other} | 1.510 | 0.50 |")
    # Losses 1.5 and 1.52: their mean 1.51, each 0.01 from it.
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1:3] == ["1.510 ± 0.010", "0.50 ± 0.00"]
    assert cells[3:5] == ["15.50 ± 0.00", "2.00 ± 0.00"]
    assert cells[5:] == ["3.00 ± 0.00", "2"]


def check_that_all_can_be_read(figure):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    boxes = [
        (text.get_text(), text.get_window_extent(canvas.get_renderer()))
        for text in figure.findobj(Text)
        if text.get_visible() and text.get_text().strip()
    ]
    paper = figure.bbox
    for text, box in boxes:
        assert box.x0 >= paper.x0 and box.x1 <= paper.x1, text
        assert box.y0 >= paper.y0 and box.y1 <= paper.y1, text
    for (one, box), (other, another) in itertools.combinations(boxes, 2):
        assert not box.overlaps(another), f"{one!r} and {other!r} overlap"
    return [text for text, _ in boxes]


def written(path):
    """Return the texts of an SVG file."""
    found = re.findall(r"<text[^>]*>([^<]*)</text>", path.read_text())
    return sorted(text.replace("&#x27;", "'") for text in found)


def test_the_page_and_the_pictures_are_those_of_the_runs():
    report = load("quality_report")
    runs = report.read(RESULTS / report.FILE)
    clock = load("quality_clock").read(RESULTS / "clock.json")
    page = PAGE.read_text("utf-8").splitlines()
    for row in report.tables(runs, clock).splitlines():
        if row.startswith("|"):
            assert row in page, "run quality_report.py again"
    for name, figure in report.figures(runs, clock).items():
        picture = RESULTS / f"{name}.svg"
        words = check_that_all_can_be_read(figure)
        assert written(picture) == sorted(words), "run it again"
        assert picture.stat().st_size < 100_000


def test_every_group_fits_its_picture():
    pictures, recipes = load("quality_pictures"), load("quality_recipes")
    for group in recipes.GROUPS.values():
        if group.curve is None:
            continue
        runs = {
            name: some_runs(name, index)
            for index, name in enumerate(group.recipes)
        }
        words = check_that_all_can_be_read(pictures.draw(group, runs))
        assert {group.title, group.label, *group.recipes} <= set(words)
