"""What a version says about its model: `assets.extra/keras_moe.json`."""

import json
from typing import NamedTuple

FILE = "keras_moe.json"


class Description(NamedTuple):
    """The part of the description that the server acts on.

    Attributes:
        content: dict, the whole file; empty if there is none.
        task: string, `"causal_lm"`, `"seq2seq_lm"`, `"classifier"`, `"other"`.
        vocabulary_size: int V, or `None`.
        tokenizer: dict, or `None`.
    """

    content: dict
    task: str
    vocabulary_size: int | None
    tokenizer: dict | None


def read_description(folder):
    """Read the description of a version; one without it is of task "other".

    Args:
        folder: `pathlib.Path` of the version.

    Returns:
        A `Description`.

    Raises:
        ValueError: If the file is broken, or of a later format.
    """
    file = folder / "assets.extra" / FILE
    content = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    if not isinstance(content, dict) or content.get("format", 1) != 1:
        raise ValueError(
            f"Expected {FILE} to hold an object of format 1. Received: {file}. "
            "Export the model again, or update keras-moe."
        )
    return Description(
        content=content,
        task=content.get("task", "other"),
        vocabulary_size=content.get("vocabulary_size"),
        tokenizer=content.get("tokenizer"),
    )
