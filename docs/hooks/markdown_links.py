"""Links and anchors of Markdown files, as GitHub understands them."""

import re
from collections.abc import Callable

# Code and comments come first: what looks like a link there is none.
_CODE_OR_LINK = re.compile(
    r"""
    (?P<code>
        ^\ *(?P<fence>`{3,}|~{3,}).*?^\ *(?P=fence)
      | (?P<ticks>`+)(?!`).+?(?<!`)(?P=ticks)(?!`)
      | <!--.*?-->
    )
  | (?P<before>\]\(|^\[[^\]\n]+\]:\ +|\b(?:href|src|srcset)=")
    (?P<target>[^)\s"]+)
    """,
    re.MULTILINE | re.DOTALL | re.VERBOSE,
)
_HEADING = re.compile(r"^#{1,6} +(?P<text>.+?) *#*$", re.MULTILINE)
_LINK_WITH_TEXT = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_NEITHER_WORD_NOR_SPACE = re.compile(r"[^\w\- ]")
_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:|//")


def relative_links(markdown: str) -> list[str]:
    """Return the targets of all links and pictures that name no server."""
    return [
        match["target"]
        for match in _CODE_OR_LINK.finditer(markdown)
        if match["target"] and not _SCHEME.match(match["target"])
    ]


def replace_links(markdown: str, replace: Callable[[str], str]) -> str:
    """Return the text with `replace(target)` in place of relative targets."""

    def substitute(match: re.Match[str]) -> str:
        if match["code"] or _SCHEME.match(match["target"]):
            return match[0]
        return match["before"] + replace(match["target"])

    return _CODE_OR_LINK.sub(substitute, markdown)


def anchors(markdown: str) -> set[str]:
    """Return the anchors of all headings."""
    text = _CODE_OR_LINK.sub(_without_fences, markdown)
    return {anchor(match["text"]) for match in _HEADING.finditer(text)}


def anchor(heading: str) -> str:
    """Return the anchor that GitHub gives a heading.

    >>> anchor("What `fit` costs: time, memory")
    'what-fit-costs-time-memory'
    """
    text = _LINK_WITH_TEXT.sub(r"\1", heading).lower()
    return _NEITHER_WORD_NOR_SPACE.sub("", text).replace(" ", "-")


def _without_fences(match: re.Match[str]) -> str:
    return "" if match["fence"] else match[0]
