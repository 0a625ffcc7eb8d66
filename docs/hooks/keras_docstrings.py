"""Docstrings in Keras' manner, turned into the Markdown that MkDocs reads."""

import importlib
import inspect
import re
import textwrap
from typing import Any

import griffe

from keras_moe.cli.backend import import_models

# A title in a line of its own, and the indented lines below it. griffe knows
# the others: `Args`, `Attributes` and `Raises`.
_SECTION = re.compile(
    r"^(?P<title>Call arguments|References|Returns|Yields):\n"
    r"(?P<block>(?: +.*\n?|\n)+)",
    re.MULTILINE,
)
# Its docstrings and signatures are in no source: families share them.
_MADE = "keras_moe.models."
_LABEL = re.compile(
    r"^(?P<label>Example|Inputs|Outputs|Weights):", re.MULTILINE
)
_PROMPTS = re.compile(r"^>>> .*(?:\n.+)*", re.MULTILINE)
_FENCE = re.compile(r"^(```.*?^```)", re.MULTILINE | re.DOTALL)
_ARGUMENT = re.compile(r"^(?P<name>[\w*, ]+): ")
# References are sentences; an argument starts a line.
_ITEMS = {
    "Call arguments": re.compile(r"\n(?=\S)"),
    "References": re.compile(r"(?<=\.)\n"),
}


class KerasDocstrings(griffe.Extension):
    """Rewrites every docstring while the sources are read."""

    def on_object(self, *, obj: Any, **_: Any) -> None:
        """Rewrite the docstring of a class, function, module or constant."""
        if obj.docstring is None:
            return
        if obj.is_class and obj.path.startswith(_MADE):
            _take_what_is_made(obj)
        obj.docstring.value = to_markdown(obj.docstring.value)


def _take_what_is_made(obj: Any) -> None:
    """Show signature and docstring that a class of a family gets at import."""
    import_models()
    made = getattr(importlib.import_module(obj.parent.path), obj.name)
    obj.docstring.value = inspect.cleandoc(made.__doc__)
    if "__signature__" not in vars(made):
        return
    parameters = [
        griffe.Parameter(
            name,
            kind=griffe.ParameterKind(each.kind.description),
            default=None if each.default is each.empty else repr(each.default),
        )
        for name, each in inspect.signature(made).parameters.items()
    ]
    if not obj.members.get("__init__"):
        init = griffe.Function("__init__", parent=obj)
        obj.set_member("__init__", init)
    obj.members["__init__"].parameters = griffe.Parameters(*parameters)


def to_markdown(docstring: str) -> str:
    """Return the docstring with code in fences and sections as lists."""
    parts = _FENCE.split(docstring)
    # Every other part is a fenced block, which stays as it is.
    parts[::2] = [_rewrite(part) for part in parts[::2]]
    return "".join(parts)


def _rewrite(text: str) -> str:
    text = _PROMPTS.sub(r"```pycon\n\g<0>\n```", text)
    text = _SECTION.sub(_section, text)
    return _LABEL.sub(r"**\g<label>:**", text)


def _section(match: re.Match[str]) -> str:
    """Return a bold title, and a list or paragraphs."""
    title = match["title"]
    text = textwrap.dedent(match["block"]).strip()
    if title in _ITEMS:
        items = (" ".join(x.split()) for x in _ITEMS[title].split(text))
        text = "\n".join(
            "- " + _ARGUMENT.sub(r"**`\g<name>`**: ", item) for item in items
        )
    return f"**{title}:**\n\n{text}\n\n"
