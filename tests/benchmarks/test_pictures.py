"""The pictures of the benchmarks: what they show, and that all can be read."""

import importlib
import itertools
import json
import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

RESULTS = sorted(Path(__file__).parents[2].glob("benchmarks/results/*.json"))


def load(name):
    return importlib.import_module(name)


def answer(what="time / rival", backend="torch", value=1.0, **more):
    empty = {"range": None, "target": None, "met": None}
    return {"what": what, "backend": backend, "value": value, **empty, **more}


def run(**benchmarks):
    """Return results: benchmark=list of answers, all of one case."""
    return {
        "date": "2026-01-01",
        "device": "an abacus",
        "versions": {},
        "matches": [
            {
                "benchmark": name,
                "case": "E=4 K=2 8x16 batch 1",
                "backend": "all",
                "answers": answers,
                "records": {},
            }
            for name, answers in benchmarks.items()
        ],
    }


def rendered(figure):
    """Return (text, its box) of all texts of a figure, and the figure's box."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    texts = [
        text
        for text in figure.findobj(Text)
        if text.get_visible() and text.get_text().strip()
    ]
    boxes = [(text, text.get_window_extent(renderer)) for text in texts]
    return boxes, figure.bbox


def check_that_all_can_be_read(figure):
    """Check it, and return the words of the figure."""
    boxes, paper = rendered(figure)
    assert len(boxes) > 5
    for text, box in boxes:
        inside = (
            box.x0 >= paper.x0
            and box.x1 <= paper.x1
            and box.y0 >= paper.y0
            and box.y1 <= paper.y1
        )
        assert inside, f"{text.get_text()!r} leaves the figure"
    for (one, box), (other, another) in itertools.combinations(boxes, 2):
        assert not box.overlaps(another), (
            f"{one.get_text()!r} and {other.get_text()!r} overlap"
        )
    # Nor is a number hidden by a bar, a range or a target.
    (axes,) = figure.axes
    marks = [*axes.lines, *(bar for bars in axes.containers for bar in bars)]
    for text, box in boxes:
        if re.fullmatch(r"\d+\.\d\d", text.get_text()):
            for mark in marks:
                assert not box.overlaps(mark.get_window_extent()), (
                    f"{text.get_text()} is on {mark}"
                )
    return sorted(text.get_text() for text, _ in boxes)


def words(figure):
    return sorted(text.get_text() for text, _ in rendered(figure)[0])


def written(path):
    """Return the texts of an SVG file."""
    svg = path.read_text()
    found = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    return sorted(text.replace("&#x27;", "'") for text in found)


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_no_words_of_a_picture_overlap_or_leave_it(path):
    ((_, figure),) = load("pictures").draw(json.loads(path.read_text())).items()
    shown = check_that_all_can_be_read(figure)
    picture = path.with_suffix(".svg")
    assert written(picture) == shown, "run report.py again"
    assert picture.stat().st_size < 100_000


def test_no_words_of_the_headline_overlap_or_leave_it():
    runs = [json.loads(path.read_text()) for path in RESULTS]
    figure = load("headline").draw(runs)
    shown = check_that_all_can_be_read(figure)
    picture = RESULTS[0].with_name("headline.svg")
    assert written(picture) == shown, "run report.py again"
    assert picture.stat().st_size < 100_000


def test_every_benchmark_of_the_suite_fits_its_picture():
    suite = load("suite")
    sizes = load("sizes").SCALES["gpu"]  # Which has the longest names.
    values = itertools.cycle([0.06, 0.27, 0.98, 1.0, 1.02, 1.24, 1.3, 13.5])
    results = run()
    for name, matches in suite.SUITE.items():
        for match in matches(sizes, suite.BACKENDS):
            answers = [
                answer(
                    question.what,
                    question.backend,
                    value,
                    target=question.target,
                    range=[0.9 * value, 1.1 * value],
                    met=False,
                )
                for question, value in zip(
                    match.questions, values, strict=False
                )
            ]
            results["matches"].append(
                {
                    "benchmark": name,
                    "case": match.case,
                    "backend": match.backend,
                    "answers": answers,
                }
            )
    figures = load("pictures").draw(results)
    assert list(figures) == list(suite.SUITE)
    for figure in [*figures.values(), load("headline").draw([results])]:
        check_that_all_can_be_read(figure)


def test_a_bar_goes_from_one_to_the_ratio_in_its_backends_colour():
    from matplotlib.colors import to_hex

    values = {"jax": 0.5, "torch": 2.0, "tensorflow": 1.25}
    # Written in another order than it is drawn.
    answers = [answer(backend=b, value=v) for b, v in values.items()][::-1]
    (figure,) = load("pictures").draw(run(layer=answers)).values()
    (axes,) = figure.axes
    bars = [bar for container in axes.containers for bar in container]
    for bar, (backend, value) in zip(bars, values.items(), strict=True):
        assert bar.get_x() == 1
        assert bar.get_x() + bar.get_width() == value
        colour = load("drawing").COLOURS[backend].lower()
        assert to_hex(bar.get_facecolor()) == colour
    assert [1, 1] in [list(line.get_xdata()) for line in axes.lines]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "JAX",
        "PyTorch",
        "TensorFlow",
    ]
    assert {"0.50", "2.00", "1.25"} < set(words(figure))
    heading = "4 experts, 2 per token, width 8, expert width 16, batch 1"
    assert heading in words(figure)


def test_targets_and_ranges_are_marked_and_a_missed_one_is_bold():
    answers = [
        answer("met", value=1.2, target=1.3, met=True, range=[1.1, 1.25]),
        answer("missed", value=1.4, target=1.35, met=False),
    ]
    (figure,) = load("pictures").draw(run(layer=answers)).values()
    (axes,) = figure.axes
    drawn = [list(line.get_xdata()) for line in axes.lines]
    for expected in ([1.3, 1.3], [1.35, 1.35], [1.1, 1.25]):
        assert expected in drawn
    weights = {
        text.get_text(): text.get_fontweight()
        for text, _ in rendered(figure)[0]
    }
    assert weights["1.20"] == "normal"
    assert weights["1.40"] == "bold"
    check_that_all_can_be_read(figure)


def test_one_question_for_many_cases_is_the_heading():
    results = run(families=[answer("forward pass / theirs")])
    second = {**results["matches"][0], "case": "another"}
    results["matches"].append(second)
    (figure,) = load("pictures").draw(results).values()
    assert words(figure).count("forward pass / theirs") == 1


def test_what_failed_is_not_drawn():
    results = run(layer=[answer(value=None)])
    assert load("pictures").draw(results) == {}
    results = run(layer=[answer(value=None), answer(backend="jax")])
    (figure,) = load("pictures").draw(results).values()
    assert "PyTorch" not in words(figure)


def headline_runs():
    every = answer("time / every expert", value=0.25, range=[0.2, 0.5])
    slower = answer("step / transformers' best", value=2.0)
    hub = answer("step / keras-hub, same backend", value=0.08)
    return run(layer=[every], training=[slower], decoding=[hub])


def test_the_headline_says_how_many_times_faster_or_slower():
    figure = load("headline").draw([headline_runs()])
    # 1 / 0.25, 1 / 2.0 and 1 / 0.08 = 12.5, which rounds to even.
    assert {"4.0x", "0.50x", "12x"} < set(words(figure))
    (axes,) = figure.axes
    drawn = [list(line.get_xdata()) for line in axes.lines]
    assert [5, 2] in drawn  # The range, 1 / 0.2 to 1 / 0.5.
    assert [0.5] in drawn
    check_that_all_can_be_read(figure)


def test_there_is_no_headline_of_a_part_of_the_benchmarks():
    results = headline_runs()
    results["matches"].pop()
    assert load("headline").draw([results]) is None


def test_a_report_is_the_same_each_time_and_keeps_text_as_text(tmp_path):
    report = load("report")
    here, there = headline_runs(), {**headline_runs(), "device": "a ship"}
    runs = {tmp_path / "here.json": here, tmp_path / "there.json": there}
    report.write(runs)
    names = {path.name for path in tmp_path.iterdir()}
    pictures = {
        f"{stem}_{name}.svg"
        for stem in ("here", "there")
        for name in ("layer", "training", "decoding")
    }
    assert names == {"here.md", "there.md", "headline.svg"} | pictures
    headline = tmp_path / "headline.svg"
    assert "How many times faster? (an abacus)" in written(headline)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    report.write(runs)
    assert before == {path: path.read_bytes() for path in tmp_path.iterdir()}
