"""Imports go one way through the rooms of the package.

Read from the source with `ast`, so that an import inside a function or behind
`TYPE_CHECKING` counts too, and no optional dependency has to be installed.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

# Reads sources, imports nothing.
pytestmark = pytest.mark.once

REPOSITORY = Path(__file__).parents[1]
PACKAGE = "keras_moe"

# The way of the data through the house, with what only computes a number
# (functions on tensors, then on a plan) in front: a room imports itself
# and the rooms before it.
ROOMS = (
    "ops",
    "distribution",
    "routing",
    "losses",
    "metrics",
    "balancing",
    "dispatch",
    "experts",
    "layers",
    "blocks",
    "checkpoints",
    "models",
    "visualization",
    "callbacks",
    "surgery",
    "export",
    "analysis",
    "planning",
    "serving",
    "cli",
)
# The oracle must stay independent of what it judges, and no room may lean on
# it: it stands outside the order.
OUTSIDE = "testing"

# Modules of the package's own folder that belong to no room.
ROOMLESS_MODULES = ("__init__", "__main__", "version")

# A method of a model that starts what a later room does, as Keras' own does;
# the import is in the method.
LATER_ROOMS = {
    ("keras_moe/models/sparse_model.py", "keras_moe.export.export_model"),
}

BACKENDS = ("jax", "jaxlib", "torch", "tensorflow")
ROOMS_WITH_BACKENDS = ("ops", "export", "callbacks", "serving")
FIRST_ROOM_WITH_KERAS_HUB = "models"


class Import(NamedTuple):
    module: str
    line: int


def imports_of(source: str, package: str) -> Iterator[Import]:
    """Yields every module that `source`, a file in `package`, may import.

    `from a import b` yields `a.b`, because `b` may be a module;
    `import_module("...")` counts as well.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            base = parents[: len(parents) - node.level + 1]
            prefix = ".".join(base) if node.level else ""
            module = ".".join(filter(None, (prefix, node.module)))
            for alias in node.names:
                yield Import(f"{module}.{alias.name}", node.lineno)
        elif isinstance(node, ast.Call):
            function = ast.unparse(node.func).rpartition(".")[2]
            if function in ("import_module", "__import__") and node.args:
                name = node.args[0]
                if isinstance(name, ast.Constant):
                    yield Import(str(name.value), node.lineno)


def is_within(module: str, packages: tuple[str, ...]) -> bool:
    return any(f"{module}.".startswith(f"{package}.") for package in packages)


def objection_to(module: str, room: str) -> str | None:
    """Says why a file in `room` may not import `module`, or None."""
    if is_within(module, BACKENDS) and room not in ROOMS_WITH_BACKENDS:
        return f"a backend; only {ROOMS_WITH_BACKENDS} import one"
    if is_within(module, ("keras_hub",)):
        first = ROOMS.index(FIRST_ROOM_WITH_KERAS_HUB)
        if room not in ROOMS[first:]:
            return f"keras_hub, before the room {FIRST_ROOM_WITH_KERAS_HUB!r}"
    if not is_within(module, (PACKAGE,)):
        return None
    other = module.split(".")[1] if "." in module else PACKAGE
    if other in (room, "version"):
        return None
    if other not in (*ROOMS, OUTSIDE):
        return "the package itself; import from the room that owns the name"
    if room == OUTSIDE or other == OUTSIDE:
        return f"{OUTSIDE!r} and the rooms know nothing of each other"
    if ROOMS.index(other) > ROOMS.index(room):
        return f"a later room: {room!r} comes before {other!r}"
    return None


def violations(source: str, path: str) -> list[str]:
    """Returns one line per import that breaks a rule, for a file of `path`."""
    folder, _, _ = path.removesuffix(".py").rpartition("/")
    parts = folder.split("/")
    if parts[0] != PACKAGE or len(parts) == 1:
        return []
    return [
        f"{path}:{line} imports {module}: {objection}"
        for module, line in imports_of(source, ".".join(parts))
        if (path, module) not in LATER_ROOMS
        and (objection := objection_to(module, parts[1]))
    ]


def import_graph(sources: dict[str, str]) -> dict[str, set[str]]:
    """Returns which modules of the package each module imports.

    Imports inside of functions count: they hide a circle, they do not open it.
    """
    packages = {
        path.removesuffix("/__init__.py").replace("/", ".")
        for path in sources
        if path.endswith("/__init__.py")
    }
    modules = packages | {
        path.removesuffix(".py").replace("/", ".") for path in sources
    }
    graph = {}
    for path, source in sources.items():
        folder = path.rpartition("/")[0].replace("/", ".")
        name = path.removesuffix(".py").removesuffix("/__init__")
        graph[name.replace("/", ".")] = {
            module if module in modules else module.rpartition(".")[0]
            for module, _ in imports_of(source, folder)
            if (path, module) not in LATER_ROOMS
        }
    return {
        name: {each for each in imported if each in modules} - {name}
        for name, imported in graph.items()
    }


def modules_in_circles(graph: dict[str, set[str]]) -> set[str]:
    """Returns the modules that import themselves by way of others."""

    def reached(start):
        seen, left = set(), [*graph[start]]
        while left:
            name = left.pop()
            if name not in seen:
                seen.add(name)
                left += graph[name]
        return seen

    return {name for name in graph if name in reached(name)}


def python_files(*folders: str) -> list[Path]:
    return [
        path
        for folder in folders
        for path in sorted((REPOSITORY / folder).rglob("*.py"))
    ]


def test_every_import_goes_to_an_earlier_room():
    found = []
    for path in python_files(PACKAGE):
        name = path.relative_to(REPOSITORY).as_posix()
        found += violations(path.read_text(encoding="utf-8"), name)
    assert not found, "\n".join(found)


def test_no_file_imports_itself_by_way_of_others():
    sources = {
        path.relative_to(REPOSITORY).as_posix(): path.read_text("utf-8")
        for path in python_files(PACKAGE)
    }
    found = modules_in_circles(import_graph(sources))
    assert not found, f"Import each other in a circle: {sorted(found)}"


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        # Two files, one of them inside of a function.
        (
            {
                "a/b.py": "from a.c import f",
                "a/c.py": "def f():\n    from a.b import g",
                "a/d.py": "import a.b",
            },
            {"a.b", "a.c"},
        ),
        # Three, by relative imports.
        (
            {
                "a/b.py": "from . import c",
                "a/c.py": "from .d.e import f",
                "a/d/e.py": "from ..b import g",
                "a/d/h.py": "from .e import f",
            },
            {"a.b", "a.c", "a.d.e"},
        ),
        # A file that takes a name from the package that imports it.
        (
            {
                "a/__init__.py": "from a.b import f",
                "a/b.py": "from a import g",
            },
            {"a", "a.b"},
        ),
        # A row, and a package that names its own file.
        (
            {
                "a/__init__.py": "from a import b",
                "a/b.py": "import a.c",
                "a/c.py": "import a.d",
                "a/d.py": "import keras",
            },
            set(),
        ),
    ],
)
def test_circles_of_any_length_are_found(sources, expected):
    assert modules_in_circles(import_graph(sources)) == expected


def test_every_module_has_a_room():
    strangers = []
    for path in python_files(PACKAGE):
        first = path.relative_to(REPOSITORY / PACKAGE).parts[0]
        known = (*ROOMS, OUTSIDE, *(f"{name}.py" for name in ROOMLESS_MODULES))
        if first not in known:
            strangers.append(str(path.relative_to(REPOSITORY)))
    assert not strangers, f"Not in a room of the order: {strangers}"


def test_every_room_of_the_order_exists():
    ghosts = [
        room
        for room in (*ROOMS, OUTSIDE)
        if not (REPOSITORY / PACKAGE / room / "__init__.py").is_file()
    ]
    assert not ghosts, f"No such folders: {ghosts}"


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("keras_moe/ops/a.py", "from keras_moe.layers import SparseMoE"),
        ("keras_moe/ops/a.py", "from keras_moe.routing import capacity"),
        ("keras_moe/ops/a.py", "from keras_moe import layers"),
        ("keras_moe/routing/a.py", "import keras_moe.dispatch.dense"),
        ("keras_moe/routing/a.py", "from ..dispatch import dense"),
        ("keras_moe/ops/jax/a.py", "from ...dispatch import dense"),
        ("keras_moe/ops/a.py", "def f():\n    import keras_moe.cli"),
        ("keras_moe/layers/a.py", "import keras_moe"),
        ("keras_moe/layers/a.py", "from keras_moe import SparseMoE"),
        ("keras_moe/layers/a.py", "from keras_moe.testing import moe_oracle"),
        ("keras_moe/testing/a.py", "from keras_moe.routing import capacity"),
        ("keras_moe/layers/a.py", "import jax.numpy as jnp"),
        ("keras_moe/models/a.py", "from torch import nn"),
        ("keras_moe/testing/a.py", "import tensorflow"),
        ("keras_moe/cli/a.py", "importlib.import_module('tensorflow')"),
        ("keras_moe/blocks/a.py", "import keras_hub"),
        ("keras_moe/testing/a.py", "from keras_hub import models"),
    ],
)
def test_a_forbidden_import_is_found(path, source):
    assert len(violations(source, path)) >= 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("keras_moe/__init__.py", "from keras_moe import cli"),
        ("keras_moe/dispatch/a.py", "from keras_moe.ops import take_rows"),
        ("keras_moe/dispatch/a.py", "from ..ops import take_rows"),
        ("keras_moe/dispatch/a.py", "from . import dense"),
        ("keras_moe/ops/jax/a.py", "from ..sorting import sort\nimport jax"),
        ("keras_moe/ops/a.py", "from keras_moe.ops.jax import kernels"),
        ("keras_moe/models/a.py", "import keras_hub\nimport keras"),
        ("keras_moe/cli/a.py", "from keras_moe.version import __version__"),
        ("keras_moe/layers/a.py", "import jaxtyping\nimport keras_moe_extra"),
        ("tests/a.py", "import jax\nfrom keras_moe.testing import oracle"),
    ],
)
def test_an_allowed_import_passes(path, source):
    assert violations(source, path) == []
