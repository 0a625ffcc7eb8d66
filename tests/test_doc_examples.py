"""Every example that a reader can copy runs: docstrings, README.md and docs/.

In a docstring, lines with a `>>>` prompt are compared with what they print, and
a fenced python block without prompts has to run. In a Markdown file the fenced
python blocks run in order, in one namespace; `<!-- no-run: reason -->` right
before a block leaves it out. A docstring's example sees the names of its
module, as doctest has it; a Markdown file has to import what it uses. Both
start in an empty working directory.
"""

import doctest
import importlib
import inspect
import os
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import Any
from typing import NamedTuple

import pytest

REPOSITORY = Path(__file__).parents[1]
MARKDOWN_FILES = (
    REPOSITORY / "README.md",
    *sorted((REPOSITORY / "docs").rglob("*.md")),
)

# Modules behind the package's extras: where one is missing, a package of ours
# may refuse to be imported.
OPTIONAL_MODULES = (
    "grpc",
    "jax",
    "keras_hub",
    "matplotlib",
    "prometheus_client",
    "rich",
    "safetensors",
    "starlette",
    "tensorboard",
    "tensorflow",
    "tensorflow_serving",
    "torch",
    "transformers",
    "typer",
    "uvicorn",
)

PYTHON_FENCES = ("python", "py", "pycon")
FENCED_BLOCK = re.compile(
    r"^(?P<indent> *)```(?P<language>[\w+-]*)[^\n`]*\n"
    r"(?P<code>.*?)"
    r"^(?P=indent)``` *$",
    re.MULTILINE | re.DOTALL,
)
NO_RUN = re.compile(
    r"<!--\s*no-run\b:?(?P<reason>(?:(?!-->).)*)-->\s*\Z", re.DOTALL
)


class Example(NamedTuple):
    """Code, and the line of its document that it starts on."""

    code: str
    line: int


class Docstring(NamedTuple):
    """A docstring, whose it is, and the names that its examples may use."""

    name: str
    text: str
    namespace: dict[str, Any]


# ---- finding ----------------------------------------------------------------


def cut(text: str, start: int, end: int) -> Example:
    return Example(text[start:end], text.count("\n", 0, start) + 1)


def is_python(block: re.Match[str]) -> bool:
    if not block["language"]:
        return ">>>" in block["code"]
    return block["language"] in PYTHON_FENCES


def examples_in_docstring(docstring: str) -> list[Example]:
    """Returns the fenced python blocks, and the text with prompts elsewhere."""
    text = inspect.cleandoc(docstring)
    examples = []
    position = 0
    for block in [*FENCED_BLOCK.finditer(text), None]:
        end = len(text) if block is None else block.start()
        unfenced = cut(text, position, end)
        if ">>>" in unfenced.code:
            examples.append(unfenced)
        if block is not None:
            position = block.end()
            if is_python(block):
                examples.append(cut(text, *block.span("code")))
    return examples


def examples_in_markdown(text: str) -> list[Example]:
    """Returns the python blocks, without those a `no-run` comment leaves out.

    Raises:
        ValueError: If a `no-run` comment gives no reason.
    """
    examples = []
    for block in FENCED_BLOCK.finditer(text):
        if not is_python(block):
            continue
        example = cut(text, *block.span("code"))
        no_run = NO_RUN.search(text, 0, block.start())
        if no_run is None:
            examples.append(example)
        elif not no_run["reason"].strip():
            raise ValueError(
                "Expected `<!-- no-run: reason -->`. Received: a no-run "
                f"comment without a reason, before line {example.line}."
            )
    return examples


def package_names() -> list[str]:
    """Returns the dotted name of every folder with an `__init__.py`."""
    files = (REPOSITORY / "keras_moe").rglob("__init__.py")
    folders = sorted(file.parent.relative_to(REPOSITORY) for file in files)
    return [".".join(folder.parts) for folder in folders]


def docstrings_of(package: ModuleType) -> Iterator[Docstring]:
    """Yields the docstrings of a package and of what it makes public."""
    if package.__doc__:
        yield Docstring(package.__name__, package.__doc__, vars(package))
    submodules = {module.name for module in iter_modules(package.__path__)}
    for name in getattr(package, "__all__", ()):
        if name in submodules:
            continue
        symbol = getattr(package, name)
        members = {name: symbol}
        if inspect.isclass(symbol):
            for key, value in vars(symbol).items():
                members[f"{name}.{key}"] = value
        for key, member in members.items():
            if (inspect.isclass(member) or is_code(member)) and member.__doc__:
                yield Docstring(
                    f"{package.__name__}.{key}",
                    member.__doc__,
                    vars(sys.modules[symbol.__module__]),
                )


def is_code(member: Any) -> bool:
    return inspect.isroutine(member) or isinstance(member, property)


def documented_examples() -> list[Any]:
    """Returns a test parameter for each public docstring with examples."""
    parameters = []
    seen = set()
    for package_name in package_names():
        try:
            package = importlib.import_module(package_name)
            docstrings = list(docstrings_of(package))
        except ModuleNotFoundError as error:
            if str(error.name).partition(".")[0] not in OPTIONAL_MODULES:
                raise
            skip = pytest.mark.skip(reason=f"needs {error.name}")
            parameters.append(pytest.param(None, id=package_name, marks=skip))
            continue
        for docstring in docstrings:
            # A symbol may be public in two packages; once is enough.
            if docstring.text in seen:
                continue
            seen.add(docstring.text)
            if not examples_in_docstring(docstring.text):
                continue
            # A whole model without compilation takes 10 seconds where it is
            # one operation after another; its own tests are for each backend.
            once = docstring.name.startswith("keras_moe.models.")
            marks = [pytest.mark.once] if once else []
            parameters.append(
                pytest.param(docstring, id=docstring.name, marks=marks)
            )
    return parameters


# ---- running ----------------------------------------------------------------


def run_examples(
    examples: list[Example], document: str, namespace: dict[str, Any]
) -> None:
    """Runs `examples` in order, in one copy of `namespace`."""
    namespace = dict(namespace)
    for example in examples:
        if ">>>" in example.code:
            run_prompts(example, document, namespace)
        else:
            # The empty lines make a traceback name the document's line.
            code = "\n" * (example.line - 1) + textwrap.dedent(example.code)
            exec(compile(code, document, "exec"), namespace)


def run_prompts(
    example: Example, document: str, namespace: dict[str, Any]
) -> None:
    test = doctest.DocTestParser().get_doctest(
        example.code, namespace, document, document, example.line - 1
    )
    # A doctest takes a copy of the namespace; the names it makes are for the
    # next example too.
    test.globs = namespace
    runner = doctest.DocTestRunner(
        optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE,
        verbose=False,
    )
    report: list[str] = []
    failures, _ = runner.run(test, out=report.append, clear_globs=False)
    if failures:
        raise AssertionError("".join(report))


@pytest.fixture(autouse=True)
def _empty_working_directory(tmp_path, monkeypatch):
    """Runs the test in an empty folder and restores the environment."""
    monkeypatch.chdir(tmp_path)
    environment = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(environment)


# ---- tests ------------------------------------------------------------------


@pytest.mark.sweep
@pytest.mark.parametrize("docstring", documented_examples())
def test_docstring_examples_run(docstring):
    run_examples(
        examples_in_docstring(docstring.text),
        f"docstring of {docstring.name}",
        docstring.namespace,
    )


@pytest.mark.sweep
@pytest.mark.parametrize(
    "path",
    MARKDOWN_FILES,
    ids=lambda path: path.relative_to(REPOSITORY).as_posix(),
)
def test_markdown_examples_run(path):
    examples = examples_in_markdown(path.read_text(encoding="utf-8"))
    run_examples(examples, str(path), {"__name__": "__main__"})


DOCSTRING = """Doubles a number.

    >>> number = 1 + 1

    Example:

    ```python
    >>> number * 2
    4
    ```

    ```python
    if number == 2:
        number = 6
    ```

    ```bash
    exit 1
    ```

    >>> number
    {number}
    """


def test_prompts_and_blocks_of_a_docstring_share_a_namespace():
    run_examples(examples_in_docstring(DOCSTRING.format(number=6)), "a", {})


def test_a_wrong_output_in_a_docstring_is_found():
    examples = examples_in_docstring(DOCSTRING.format(number=2))
    with pytest.raises(AssertionError, match=r"line 21[^$]*Got:\s+6"):
        run_examples(examples, "a", {})


def test_an_error_in_a_docstring_block_is_found():
    docstring = "Fails.\n\n    ```python\n    undefined_name\n    ```\n"
    with pytest.raises(NameError, match="undefined_name"):
        run_examples(examples_in_docstring(docstring), "a", {})


def test_an_error_names_the_line_of_the_document():
    examples = examples_in_markdown("# Title\n\n```python\n\n1 / 0\n```\n")
    with pytest.raises(ZeroDivisionError) as error:
        run_examples(examples, "a.md", {})
    assert error.traceback[-1].lineno + 1 == 5


def test_a_no_run_comment_leaves_out_the_next_block_only():
    text = (
        "<!-- no-run: needs a server -->\n```python\na\n```\n"
        "```python\nb\n```\n"
        "<!-- a remark -->\n```python\nc\n```\n"
        "```text\nd\n```\n"
    )
    codes = [example.code for example in examples_in_markdown(text)]
    assert codes == ["b\n", "c\n"]


@pytest.mark.parametrize("comment", ["<!-- no-run -->", "<!-- no-run: -->"])
def test_a_no_run_comment_needs_a_reason(comment):
    with pytest.raises(ValueError, match=r"no-run: reason.*line 3"):
        examples_in_markdown(f"{comment}\n```python\na\n```\n")
