"""What other packages keep to themselves is used in few files, one by one.

A private name may change with any version. Where there is no public way, one
file has it, whose docstring says why, and a test that says what to do when it
goes away. Read from the source with `ast`, which knows no types: an attribute
such as `x._name` is ours if our own code defines that name.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

# Reads sources, imports nothing.
pytestmark = pytest.mark.once

REPOSITORY = Path(__file__).parents[1]
OUR_PACKAGES = ("keras_moe", "tests", "benchmarks")
ATTRIBUTE_FUNCTIONS = ("getattr", "hasattr", "setattr", "delattr")

# Without an underscore, and no promise either.
PRIVATE_MODULES = (
    "keras.src",
    "keras_hub.src",
    "tensorflow.python",
    "tensorflow.raw_ops",
)
UNSTABLE = ("experimental", "internal")
# Of PyTorch's libraries of operators, one is ours.
OUR_OPERATORS = "torch.ops.keras_moe"
# Underscores that Python's documentation describes.
DOCUMENTED = (
    *("_asdict", "_field_defaults", "_fields", "_make", "_replace"),
    *("os._exit", "sys._getframe"),
)

# Each with a docstring that says why, and a test that says what to do.
FENCES = {
    "keras_moe/experts/late_weights.py": {"_tracker"},
    "keras_moe/models/creation_order.py": {
        "_initialize_tracker",
        "_initialized",
        "_tracker",
    },
    "keras_moe/ops/all_layers.py": {"_flatten_layers"},
    "keras_moe/ops/jax/ahead_of_time.py": {"_layout", "jax.experimental"},
    "keras_moe/ops/jax/megablox.py": {"jax.experimental"},
    "keras_moe/ops/jax/mosaic_gpu.py": {"jax.experimental"},
    "keras_moe/ops/tensorflow/losses_of_callers.py": {"_losses"},
    "keras_moe/ops/tensorflow/write_rows.py": {"tensorflow.raw_ops"},
    "keras_moe/ops/tensorflow/xla_context.py": {"tensorflow.python"},
    "keras_moe/ops/torch/gated_silu.py": {"torch.ops.aten"},
    "keras_moe/ops/torch/trace_operations.py": {
        "torch.fx.experimental",
        "torch.ops.aten",
    },
    "keras_moe/ops/unfilled_variables.py": {"_initializer"},
}
# They compare with the insides of others, or run others' own tests.
TESTS = {
    "tests/layers/compile_for_tpu.py": {"jax.experimental"},
    "tests/layers/test_keras_contract.py": {"keras.src"},
    "tests/ops/jax/test_ahead_of_time.py": {"_layout"},
    "tests/layers/test_routing_statistics.py": {"_version"},
    "tests/models/mixtral/test_mixtral_backbone.py": {
        "_expert_feedforward_gate_dense",
        "_expert_feedforward_intermediate_dense",
        "_expert_feedforward_output_dense",
        "_feedforward_layernorm",
        "_self_attention_layer",
        "_self_attention_layernorm",
        "_sparse_feedforward_gate_dense",
        "_sparse_moe_block",
    },
    "tests/models/test_creation_order.py": {"_initialized", "_tracker"},
    "tests/models/test_keras_hub_contract.py": {"keras_hub.src"},
    "tests/models/test_keras_hub_presets.py": {
        "_key_dense_layer_norm",
        "_query_dense_layer_norm",
        "_self_attention_layer",
    },
    "tests/ops/test_all_layers.py": {"keras.layers.Layer._flatten_layers"},
    "tests/ops/test_unfilled_variables.py": {"_initializer"},
    "tests/ops/torch/test_gated_silu.py": {"torch.ops.aten"},
    "tests/ops/torch/test_new_memory.py": {"torch._subclasses"},
    "tests/ops/torch/test_trace_operations.py": {"torch.ops.aten"},
}
ALLOWED = {**FENCES, **TESTS}


class Use(NamedTuple):
    name: str
    line: int


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def private_part(dotted: str) -> str | None:
    """Returns a module's name up to where it is private, or None."""
    parts = dotted.split(".")
    if parts[0] in OUR_PACKAGES or dotted in DOCUMENTED:
        return None
    for end in range(2, len(parts) + 1):
        module = ".".join(parts[:end])
        if module.startswith("torch.ops."):
            return None if module == OUR_OPERATORS else module
        last = parts[end - 1]
        if is_private(last) or last in UNSTABLE or module in PRIVATE_MODULES:
            return module
    return None


def definitions(tree: ast.AST) -> set[str]:
    """Returns the names that a file defines: classes, functions, attributes."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(
            node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
        ):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.Attribute) and is_own(node.value):
            if isinstance(node.ctx, ast.Store):
                found.add(node.attr)
    return found


def is_own(receiver: ast.expr) -> bool:
    return ast.unparse(receiver) in ("self", "cls", "super()")


def imported_names(tree: ast.AST) -> Iterator[tuple[str, str, int]]:
    """Yields name in the file, name of the module or its member, line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.partition(".")[0]
                yield alias.name, alias.name, node.lineno
                yield (
                    alias.asname or first,
                    (alias.name if alias.asname else first),
                    node.lineno,
                )
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield alias.asname or alias.name, name, node.lineno


def foreign_uses(source: str, ours: frozenset = frozenset()) -> Iterator[Use]:
    """Yields what `source` uses of others' private names.

    `ours` are names that other files of ours define: an object of unknown
    type may have those of its own file only.
    """
    tree = ast.parse(source)
    here = definitions(tree)
    modules = {}
    for name, module, line in imported_names(tree):
        modules[name] = module
        if part := private_part(module):
            yield Use(part, line)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            receiver, name = node.value, node.attr
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in ATTRIBUTE_FUNCTIONS
            and isinstance(node.args[1], ast.Constant)
        ):
            receiver, name = node.args[0], str(node.args[1].value)
        elif (
            isinstance(node, ast.Call)
            and ast.unparse(node.func).endswith("import_module")
            and isinstance(node.args[0], ast.Constant)
        ):
            if part := private_part(str(node.args[0].value)):
                yield Use(part, node.lineno)
            continue
        else:
            continue
        root, _, rest = ast.unparse(receiver).partition(".")
        if root in modules and isinstance(receiver, ast.Name | ast.Attribute):
            dotted = ".".join(filter(None, (modules[root], rest, name)))
            if part := private_part(dotted):
                yield Use(part, node.lineno)
        elif is_private(name) and name not in (*DOCUMENTED, *here):
            if not (is_own(receiver) and name in ours):
                yield Use(name, node.lineno)


def parsed_files() -> dict[str, str]:
    return {
        path.relative_to(REPOSITORY).as_posix(): path.read_text("utf-8")
        for folder in ("keras_moe", "tests", "examples", "benchmarks")
        for path in sorted((REPOSITORY / folder).rglob("*.py"))
    }


def test_private_names_of_others_are_behind_fences():
    files = parsed_files()
    ours = {
        path: definitions(ast.parse(source)) for path, source in files.items()
    }
    of_package = frozenset().union(
        *(ours[path] for path in ours if path.startswith("keras_moe/"))
    )
    of_tests = frozenset().union(of_package, *ours.values())
    wrong = []
    for path, source in files.items():
        is_test = path.startswith("tests/")
        uses = [*foreign_uses(source, of_tests if is_test else of_package)]
        allowed = ALLOWED.get(path, set())
        for name in {use.name for use in uses} - allowed:
            if is_test and name in of_tests:  # Tests look into our own files.
                continue
            lines = [use.line for use in uses if use.name == name]
            wrong.append(f"{path}:{lines}: {name} is private to others")
        for name in allowed - {use.name for use in uses}:
            wrong.append(f"{path}: {name} is listed here and not used")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", FENCES)
def test_a_fence_has_a_reason_and_a_test_that_says_what_to_do(path):
    fence = REPOSITORY / path
    reason = ast.get_docstring(ast.parse(fence.read_text("utf-8")))
    assert "one file" in reason
    assert "no public" in reason or "public tracers" in reason
    folders = Path(path).parent.relative_to("keras_moe")
    test = REPOSITORY / "tests" / folders / f"test_{fence.stem}.py"
    assert "If this fails: " in test.read_text("utf-8")


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("from keras.src import backend", "keras.src"),
        ("from keras import src", "keras.src"),
        ("import keras\nkeras.src.backend", "keras.src"),
        ("import keras as k\nk.src.backend", "keras.src"),
        ("import keras_hub.src.models", "keras_hub.src"),
        ("def f():\n    import jax._src.core", "jax._src"),
        ("from jax.experimental import pallas", "jax.experimental"),
        ("import torch\ntorch._C._jit_init()", "torch._C"),
        ("import torch\ntorch.ops.aten.silu", "torch.ops.aten"),
        ("from torch import ops\nops.mkl.x", "torch.ops.mkl"),
        ("from torch.fx.experimental import proxy", "torch.fx.experimental"),
        ("import tensorflow as tf\ntf.raw_ops.Sin", "tensorflow.raw_ops"),
        ("import tensorflow as tf\ntf.python.x", "tensorflow.python"),
        ("importlib.import_module('torch._dynamo')", "torch._dynamo"),
        ("def f(layer):\n    layer._flatten_layers()", "_flatten_layers"),
        ("def f(v):\n    v.value._version", "_version"),
        ("def f(v):\n    v._initializer = None", "_initializer"),
        ("def f(v):\n    getattr(v, '_layers', None)", "_layers"),
        ("class A(B):\n    def f(self):\n        self._tracker", "_tracker"),
        ("def f(a):\n    a._of_another_file", "_of_another_file"),
    ],
)
def test_a_private_name_is_found(source, name):
    found = foreign_uses(source, frozenset({"_of_another_file"}))
    assert {use.name for use in found} == {name}


@pytest.mark.parametrize(
    "source",
    [
        "import keras\nkeras.layers.Dense(2).kernel",
        "import tensorflow as tf\ntf.compat.v1.get_default_graph()",
        "import torch\ntorch.ops.keras_moe.grouped_rows",
        "import os, sys\nos._exit(1)\nsys._getframe(1)",
        "def f(record):\n    record._replace(a=1)._asdict()",
        "class A(B):\n    def f(self):\n        self._of_another_file",
        "class A:\n    def _f(self):\n        pass\ndef g(a):\n    a._f()",
        "class A:\n    def __init__(self, a):\n        self._a = a._a",
        "from keras_moe.ops.torch import recorder\nrecorder._Program",
        "def f(a):\n    a.__dict__",
    ],
)
def test_what_is_ours_or_public_passes(source):
    assert not [*foreign_uses(source, frozenset({"_of_another_file"}))]
