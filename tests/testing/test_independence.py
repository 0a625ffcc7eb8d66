"""The oracle stands alone: NumPy, the standard library and itself."""

import ast
import sys
from pathlib import Path

import pytest

import keras_moe.testing

# Reads sources.
pytestmark = pytest.mark.once

FOLDER = Path(keras_moe.testing.__file__).parent


def imported_names(path):
    """List the modules a file imports, wherever in the file it does."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            # `from package import module` may name a module or an object.
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def is_oracle(name):
    parts = name.split(".")
    return parts[:2] == ["keras_moe", "testing"] and "oracle" in parts[2]


@pytest.mark.parametrize(
    "path", sorted(FOLDER.glob("*_oracle.py")), ids=lambda path: path.name
)
def test_an_oracle_imports_numpy_and_oracles_only(path):
    for name in imported_names(path):
        package = name.split(".")[0]
        assert (
            package in sys.stdlib_module_names
            or package == "numpy"
            or is_oracle(name)
        ), name


@pytest.mark.parametrize(
    "path", sorted(FOLDER.glob("*_contract.py")), ids=lambda path: path.name
)
def test_a_contract_uses_public_keras_and_no_other_room(path):
    for name in imported_names(path):
        parts = name.split(".")
        assert (
            parts[0] in sys.stdlib_module_names
            or parts[0] in ("numpy", "keras")
            or (parts[:2] == ["keras_moe", "testing"] and "contract" in name)
        ), name
        assert parts[:2] != ["keras", "src"], name


def test_every_exported_name_exists_and_has_an_example():
    exported = keras_moe.testing.__all__
    assert exported == sorted(exported)
    for name in exported:
        value = getattr(keras_moe.testing, name)
        assert value.__doc__
        if not isinstance(value, type):
            assert ">>>" in value.__doc__, name


def test_there_are_oracles_and_contracts_to_look_at():
    assert len(list(FOLDER.glob("*_oracle.py"))) >= 4
    assert len(list(FOLDER.glob("*_contract.py"))) >= 1
