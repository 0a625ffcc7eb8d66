"""The tokenizer of a served model, as files that clients read."""

import json
import pathlib
from typing import NamedTuple

from keras_moe.export.signatures.byte_text import works_on_bytes
from keras_moe.export.signatures.generation_options import stop_token_ids_of

TOKENIZER_FOLDER = "tokenizer"
CHAT_TEMPLATE = "chat_template.jinja"


class TokenizerAssets(NamedTuple):
    """What a client needs to turn text into token ids and back.

    Attributes:
        description: dict with the `kind` of tokenizer and its `file`, or
            `None` if a client cannot have it.
        chat_template: string, path of the template, or `None`.
        stop_token_ids: list of ints that end a text.
    """

    description: dict | None
    chat_template: str | None
    stop_token_ids: list


def write_tokenizer(model, folder):
    """Write the files of a model's tokenizer.

    A causal language model of 256 tokens without a preprocessor works on
    bytes: the token id is the byte.

    Args:
        model: a built `keras.Model`.
        folder: `pathlib.Path`, gets a folder `tokenizer` if there are files.

    Returns:
        A `TokenizerAssets` whose paths start at `folder`.
    """
    preprocessor = getattr(model, "preprocessor", None)
    tokenizer = getattr(preprocessor, "tokenizer", None)
    if tokenizer is None:
        is_bytes = hasattr(model, "generate") and works_on_bytes(model)
        return TokenizerAssets(
            {"kind": "bytes"} if is_bytes else None, None, []
        )
    files, description = _files_of(tokenizer)
    template = _chat_template(files)
    if template is not None:
        files[CHAT_TEMPLATE] = template
    for name, contents in files.items():
        path = pathlib.Path(folder) / TOKENIZER_FOLDER / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(contents)
    return TokenizerAssets(
        description,
        f"{TOKENIZER_FOLDER}/{CHAT_TEMPLATE}" if template else None,
        stop_token_ids_of(model),
    )


def _files_of(tokenizer):
    """Return a tokenizer's files by name, and what they are."""
    from keras_moe.models.json_tokenizer import JsonTokenizer
    from keras_moe.models.tokenizer_files import TokenizerFiles
    from keras_moe.models.tokenizer_files import files_of

    if not isinstance(tokenizer, TokenizerFiles):
        return {}, None
    kind = "sentencepiece"
    name = tokenizer.published_name
    if isinstance(tokenizer, JsonTokenizer):
        kind = "tokenizers"
    file = f"{TOKENIZER_FOLDER}/{name}"
    return dict(files_of(tokenizer)), {"kind": kind, "file": file}


def _chat_template(files):
    """Return the chat template among a tokenizer's files, as bytes."""
    if CHAT_TEMPLATE in files:
        return files[CHAT_TEMPLATE]
    for name in ("chat_template.json", "tokenizer_config.json"):
        settings = json.loads(files.get(name, b"{}") or b"{}")
        template = settings.get("chat_template")
        # Some list several by name.
        if isinstance(template, list):
            named = {x.get("name"): x.get("template") for x in template}
            template = named.get("default")
        if isinstance(template, str):
            return template.encode()
    return None
