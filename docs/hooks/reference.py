"""The pages that are written while the site is built: names and examples."""

import ast
from collections.abc import Mapping
from pathlib import Path

from public_names import REPOSITORY
from public_names import Definition
from public_names import Room
from public_names import public_rooms


def reference_pages() -> dict[str, str]:
    """Return the text of the API reference: an index, and a page per room."""
    rooms = public_rooms()
    pages = {f"reference/{room.path}.md": _room_page(room) for room in rooms}
    return {"reference/index.md": _index(rooms), **pages}


def example_pages() -> dict[str, str]:
    """Return a page with docstring and source for each of `examples/`."""
    pages = {}
    for script in sorted((REPOSITORY / "examples").rglob("*.py")):
        path = script.relative_to(REPOSITORY).as_posix()
        pages[f"{path.removesuffix('.py')}.md"] = _example_page(script, path)
    return pages


def _index(rooms: list[Room]) -> str:
    rows = {
        f"[`{room.path}`]({room.path}.md)": room.docstring for room in rooms
    }
    return "# API reference\n\n" + _table("module", rows)


def _room_page(room: Room) -> str:
    rows = {
        f"[`{name}`](#{room.path}.{name})": definition.docstring
        for name, definition in room.names.items()
    }
    entries = [
        _entry(f"{room.path}.{name}", definition)
        for name, definition in room.names.items()
    ]
    title = f"# {room.path}\n\n{room.docstring}\n\n"
    return title + _table("name", rows) + "".join(entries)


def _entry(path: str, definition: Definition) -> str:
    """Return the directive that mkdocstrings replaces by a docstring.

    It names the definition: `keras_moe.ops.grouped_matmul` is a function, and
    the file that defines it. The public name is an anchor before it.
    """
    return f"\n[](){{ #{path} }}\n\n::: {definition.path}\n"


def _table(title: str, rows: Mapping[str, str | None]) -> str:
    """Return a table of names, each with its docstring's first line."""
    lines = [f"| {title} | |", "|---|---|"]
    for name, docstring in rows.items():
        summary = (docstring or "").partition("\n")[0]
        lines.append(f"| {name} | {summary.replace('|', chr(92) + '|')} |")
    return "\n".join(lines) + "\n"


def _example_page(script: Path, path: str) -> str:
    source = script.read_text(encoding="utf-8")
    return "\n".join(
        [
            f"# {script.name}\n",
            f"{ast.get_docstring(ast.parse(source))}\n",
            f'```python title="{path}"',
            f"{source}```\n",
        ]
    )
