"""Docstrings in Keras' manner, turned into the Markdown that MkDocs reads."""

import re
import textwrap
from typing import Any

import griffe

# A title in a line of its own, and the indented lines below it. griffe knows
# the others: `Args`, `Attributes` and `Raises`.
_SECTION = re.compile(
    r"^(?P<title>Call arguments|References|Returns|Yields):\n"
    r"(?P<block>(?: +.*\n?|\n)+)",
    re.MULTILINE,
)
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
        if obj.docstring is not None:
            obj.docstring.value = to_markdown(obj.docstring.value)


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
