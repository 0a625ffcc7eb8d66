"""The public names of the package, read from its source.

Nothing is imported.
"""

import ast
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).parents[2]
PACKAGE = "keras_moe"
_DEFINITIONS = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


class Definition(NamedTuple):
    """Where a class, function or constant is defined.

    Attributes:
        path: such as `"keras_moe.layers.sparse_moe.SparseMoE"`.
        docstring: `None` where there is none.
    """

    path: str
    docstring: str | None


class Room(NamedTuple):
    """A subpackage that says in `__all__` what is public.

    Attributes:
        path: dotted name, such as `"keras_moe.layers"`.
        docstring: what the room is for.
        names: the definition of every public name.
    """

    path: str
    docstring: str | None
    names: dict[str, Definition]


def public_rooms() -> list[Room]:
    """Return every room with an `__all__`, in alphabetical order."""
    rooms = []
    for file in sorted((REPOSITORY / PACKAGE).glob("*/__init__.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        path = f"{PACKAGE}.{file.parent.name}"
        names = {name: _definition(path, name) for name in _exported(tree)}
        if names:
            rooms.append(Room(path, ast.get_docstring(tree), names))
    return rooms


def _exported(tree: ast.Module) -> list[str]:
    """Return the value of `__all__`, or an empty list."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and _assigns(node, "__all__"):
            return list(ast.literal_eval(node.value))
    return []


def _definition(module: str, name: str) -> Definition:
    """Follow the imports of a name to the module that defines it.

    The docstring of a constant is the string after its assignment.

    Raises:
        ValueError: If the module neither defines nor imports the name.
    """
    body = ast.parse(_file(module).read_text(encoding="utf-8")).body
    for node, following in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, _DEFINITIONS):
            if node.name == name:
                return Definition(f"{module}.{name}", ast.get_docstring(node))
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if name == (alias.asname or alias.name):
                    return _definition(str(node.module), alias.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            if _assigns(node, name):
                return Definition(f"{module}.{name}", _text(following))
    raise ValueError(
        f"Expected {module} to define or import {name!r} at its top level. "
        f"Received: {_file(module)}. Remove the name from `__all__`."
    )


def _file(module: str) -> Path:
    """Return the file of a module of the package."""
    path = REPOSITORY.joinpath(*module.split("."))
    package = path / "__init__.py"
    return package if package.exists() else path.with_suffix(".py")


def _assigns(node: ast.Assign | ast.AnnAssign, name: str) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return any(
        isinstance(each, ast.Name) and each.id == name for each in targets
    )


def _text(node: ast.stmt | None) -> str | None:
    """Return the text of a statement that is nothing but a string."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        if isinstance(node.value.value, str):
            return node.value.value
    return None
