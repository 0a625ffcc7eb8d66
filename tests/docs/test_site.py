"""The site: every public name has its place, and every link its target."""

import importlib
import importlib.util
import posixpath
import re
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest

# Reads sources and Markdown; needs no backend.
pytestmark = pytest.mark.once

REPOSITORY = Path(__file__).parents[2]
HOOKS = REPOSITORY / "docs" / "hooks"
LINKED_FILES = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "benchmarks/README.md",
    *sorted(f"docs/{path.name}" for path in REPOSITORY.glob("docs/*.md")),
)
ANCHOR = re.compile(r'\bid="([^"]*)"')
RELATIVE_LINK = re.compile(r'\b(?:href|src)="(?![a-z]+:)([^"]*)"')
SITE_PACKAGES = ("mkdocs", "material", "mkdocstrings_handlers.python")


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    monkeypatch.syspath_prepend(HOOKS)


def load(name):
    return importlib.import_module(name)


def public_paths():
    """Return every public name, such as `keras_moe.layers.SparseMoE`."""
    return [
        f"{room.path}.{name}"
        for room in load("public_names").public_rooms()
        for name in room.names
    ]


# ---- the reference ----------------------------------------------------------


def test_the_reference_has_every_public_name_of_every_room():
    pages = load("reference").reference_pages()
    missing = []
    for room in load("public_names").public_rooms():
        page = pages[f"reference/{room.path}.md"]
        for name in importlib.import_module(room.path).__all__:
            path = f"{room.path}.{name}"
            definition = room.names.get(name)
            entry = (
                f"[](){{ #{path} }}\n\n::: {definition and definition.path}\n"
            )
            if entry not in page:
                missing.append(path)
    assert missing == []


def test_every_folder_with_public_names_is_a_room():
    rooms = {room.path for room in load("public_names").public_rooms()}
    folders = {
        f"keras_moe.{file.parent.name}"
        for file in REPOSITORY.glob("keras_moe/*/__init__.py")
        if "__all__" in file.read_text(encoding="utf-8")
    }
    assert rooms == folders
    # Names that cannot go unnoticed if the search above finds nothing.
    assert {"keras_moe.layers", "keras_moe.models", "keras_moe.ops"} <= rooms


def test_every_public_name_has_a_docstring():
    bare = [
        f"{room.path}.{name}"
        for room in load("public_names").public_rooms()
        for name, definition in room.names.items()
        if not (definition.docstring or "").strip()
    ]
    assert bare == []


def test_a_name_is_followed_to_where_it_is_defined():
    rooms = {room.path: room for room in load("public_names").public_rooms()}
    # A function whose module has the same name, and a constant.
    definition = rooms["keras_moe.ops"].names["grouped_matmul"]
    assert definition.path == "keras_moe.ops.grouped_matmul.grouped_matmul"
    constant = rooms["keras_moe.models"].names["MIXTRAL_PRESETS"]
    assert constant.docstring.startswith("Mixtral 8x7B")


def test_each_example_has_a_page_with_its_docstring_and_source():
    pages = load("reference").example_pages()
    scripts = sorted(REPOSITORY.glob("examples/**/*.py"))
    assert [REPOSITORY / path for path in pages] == [
        script.with_suffix(".md") for script in scripts
    ]
    for script, page in zip(scripts, pages.values(), strict=True):
        source = script.read_text(encoding="utf-8")
        assert page.startswith(f"# {script.name}\n\n{source[3:40]}")
        assert source in page


# ---- links ------------------------------------------------------------------


@pytest.mark.parametrize("path", LINKED_FILES)
def test_links_and_anchors_point_to_something(path):
    links = load("markdown_links")
    text = (REPOSITORY / path).read_text(encoding="utf-8")
    broken = []
    for link in links.relative_links(text):
        file, _, anchor = link.partition("#")
        target = REPOSITORY / posixpath.join(posixpath.dirname(path), file)
        target = target if file else REPOSITORY / path
        if not target.exists():
            broken.append(link)
        elif anchor and anchor not in links.anchors(
            target.read_text(encoding="utf-8")
        ):
            broken.append(link)
    assert broken == []


MARKDOWN = """# What `fit` costs: time, memory

[a](one.md) ![b](two.svg) [c](https://example.org/three.md), [two
lines](four.md#here "title") and `[code](five.md)`.

<!-- [comment](six.md) -->
<img src="seven.png">

    ```python
    # Not a heading
    [fence](eight.md)
    ```

[reference]: nine.md

## [Linked](ten.md) A / B
"""


def test_links_in_code_and_comments_are_none():
    assert load("markdown_links").relative_links(MARKDOWN) == [
        "one.md",
        "two.svg",
        "four.md#here",
        "seven.png",
        "nine.md",
        "ten.md",
    ]


def test_replacing_links_keeps_everything_else():
    replace_links = load("markdown_links").replace_links
    assert replace_links(MARKDOWN, lambda link: link) == MARKDOWN
    changed = replace_links(MARKDOWN, lambda link: f"new/{link}")
    assert "[a](new/one.md)" in changed
    assert 'lines](new/four.md#here "title")' in changed
    assert "`[code](five.md)`" in changed
    assert "(https://example.org/three.md)" in changed


def test_anchors_are_those_of_github():
    # GitHub drops punctuation and turns each space into a hyphen.
    assert load("markdown_links").anchors(MARKDOWN) == {
        "what-fit-costs-time-memory",
        "linked-a--b",
    }


# ---- the built site ---------------------------------------------------------


def has(module):
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


@pytest.mark.exhaustive
@pytest.mark.skipif(
    not all(map(has, SITE_PACKAGES)),
    reason="needs mkdocs-material and mkdocstrings: pip install -e '.[docs]'",
)
def test_the_site_builds_and_has_every_public_name(tmp_path):
    result = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--site-dir", tmp_path],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    # `strict` in mkdocs.yml: a warning, such as a broken link, is an error.
    assert result.returncode == 0, result.stdout + result.stderr
    pages = {
        page: page.read_text(encoding="utf-8")
        for page in sorted(tmp_path.rglob("*.html"))
    }
    anchors = {page: set(ANCHOR.findall(text)) for page, text in pages.items()}
    reference = tmp_path / "reference"
    missing = [
        path
        for path in public_paths()
        if path not in anchors[reference / f"{path.rpartition('.')[0]}.html"]
    ]
    assert missing == []
    broken = [
        f"{page.name}: {link}"
        for page, text in pages.items()
        # The page for unknown addresses has links from the root.
        if page.name != "404.html"
        for link in RELATIVE_LINK.findall(text)
        if not is_there(page, unescape(link), anchors)
    ]
    assert broken == []
    # Prompts without a fence would be three nested quotations.
    quoting = [page.name for page in pages if "<blockquote>" in pages[page]]
    assert quoting == []


def is_there(page, link, anchors):
    """Return whether a link of a built page has a file, and an anchor there."""
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    if target not in anchors:
        return target.exists()
    return not anchor or anchor in anchors[target]
