"""The page of an analysis, in a browser."""

import html.parser
import json
import re

import numpy as np
import pytest

from keras_moe.analysis import Agreement
from keras_moe.analysis import Analysis
from keras_moe.analysis import TokenInformation
from keras_moe.analysis import make_report
from keras_moe.analysis import render_page
from tests.serving.page.chromium import Chromium
from tests.serving.page.chromium import find_chromium

pytestmark = pytest.mark.once

SVG = "http://www.w3.org/2000/svg"
LABELS = ["a", " ", "\n", "</script><b>"]
TOKENS = np.array([[0, 1, 2, 3], [0, 0, 1, 3]])
# (B=2, L=4, layers=2, K=1)
ROUTED = np.array(
    [[[0, 1], [1, 1], [2, 1], [2, 0]], [[0, 1], [0, 1], [1, 1], [-1, -1]]]
)[..., None]


@pytest.fixture
def report():
    shares = np.array([0.5, 0.25])
    analysis = Analysis(
        texts=["one", "two"],
        layer_names=["first", "second"],
        num_experts=3,
        token_ids=TOKENS,
        mask=np.ones((2, 4), bool),
        text_of_row=np.array([0, 1]),
        routed_experts=ROUTED,
        vocabulary=np.arange(4),
        labels=LABELS,
        counts=np.array([[[9, 0, 0], [0, 8, 0], [0, 0, 7], [0, 0, 6]]] * 2),
        load=np.array([[0.5, 0.25, 0.25], [0.25, 0.75, 0.0]]),
        load_by_text=np.full((2, 2, 3), 1 / 3),
        effective_experts=np.array([2.8, 1.8]),
        dead_experts=[[], [2]],
        information=TokenInformation(*[shares] * 5),
        dropped=np.array([[0.0, 0.0, 0.1, 0.2]] * 2),
        agreement=Agreement(shares, shares),
    )
    return make_report(analysis, "Experts of <run>")


@pytest.fixture
def visit(report, tmp_path):
    """Return `open(**settings)` of the page, which must raise no error."""
    path = find_chromium()
    if not path:
        pytest.skip("no Chromium in PATH")
    file = tmp_path / "index.html"
    file.write_text(render_page(report), encoding="utf-8")
    with Chromium(path) as browser:

        def open_page(**settings):
            page = browser.open(file.as_uri(), **settings)
            page.until("document.querySelector('main').ariaBusy === 'false'")
            pages.append(page)
            return page

        pages = []
        yield open_page
        for page in pages:
            assert page.requests == [file.as_uri()]
            assert page.problems == []


def test_the_page_is_whole_and_loads_nothing(report):
    page = render_page(report)
    assert not re.findall(r"\[\[\w+\]\]", page.partition('id="data"')[0])
    assert set(re.findall(r"https?://[^\s\"']*", page)) == {SVG}
    assert not re.findall(r"(?:src|href)=\"(?!data:,\")", page)
    assert len(page) < 60_000
    parser = _Parser()
    parser.feed(page)
    assert parser.open == []
    assert json.loads(parser.data) == json.loads(json.dumps(report))


class _Parser(html.parser.HTMLParser):
    """Finds elements that stay open, and the page's data."""

    def __init__(self):
        super().__init__()
        self.open, self.data = [], ""

    def handle_starttag(self, tag, attributes):
        if tag not in ("meta", "link"):
            self.open.append((tag, dict(attributes).get("id")))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == ("script", "data"):
            self.data += data


def test_tokens_have_the_colours_of_the_chosen_layer(visit):
    page = visit()
    assert page.text("h1") == "Experts of <run>"
    assert page.text("#map") == "".join(LABELS)
    colours = (
        "[...document.querySelectorAll('#map span')].map("
        "(each) => getComputedStyle(each).backgroundColor)"
    )
    orange, blue, green = (
        "rgb(230, 159, 0)",
        "rgb(86, 180, 233)",
        "rgb(0, 158, 115)",
    )
    assert page.evaluate(colours) == [orange, blue, green, green]
    _choose(page, "layer", 1)
    assert page.evaluate(colours) == [blue, blue, blue, orange]
    _choose(page, "text", 1)
    assert page.text("#map") == "aa </script><b>"
    # The last token goes nowhere.
    assert page.evaluate(colours)[-1] == "rgba(0, 0, 0, 0)"


def test_keys_go_through_the_tokens(visit):
    page = visit()
    page.evaluate("document.querySelector('#map').focus()")
    page.press("ArrowRight")
    assert page.text("#token code") == "\u2423"
    chips = (
        "[...document.querySelectorAll('#token .chip')]"
        ".map((each) => each.textContent)"
    )
    assert page.evaluate(chips) == ["1", "1"]
    page.press("End")
    assert page.evaluate(chips) == ["2", "0"]
    page.press("ArrowRight")
    assert page.text("#map .chosen") == LABELS[3]


def test_tables_and_lines_have_the_numbers(visit):
    page = visit()
    row = page.text("#layers tbody tr:last-child")
    for part in ("1: second", "25.0", "1.80", "75.0"):
        assert part in row
    lines = "document.querySelectorAll('#explained polyline').length"
    assert page.evaluate(lines) == 3
    assert page.evaluate(lines.replace("explained", "drops")) == 2
    # Count 7, the only expert of its token: lift 30 / 13.
    assert "\u21b5 \u00d72.3 (7)" in page.text("#tokens tbody tr:last-child")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_all_without_scrolling_sideways(visit, scheme):
    page = visit(width=360, height=780, scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def _choose(page, name, value):
    page.evaluate(
        f"document.querySelector('#{name}').value = {value};"
        f"document.querySelector('#{name}').dispatchEvent(new Event('change'))"
    )
