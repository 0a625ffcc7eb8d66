"""Text to token ids and back, by the tokenizer that an export carries."""

import json
from pathlib import Path


class Bytes:
    """Token ids are the bytes of UTF-8: the models of `keras-moe train`."""

    def encode(self, text):
        return list(text.encode())

    def decode(self, token_ids):
        return bytes(token_ids).decode("utf-8", "replace")


class JsonTokenizer:
    """A `tokenizer.json`; needs `pip install tokenizers`."""

    def __init__(self, file):
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(str(file))

    def encode(self, text):
        return self._tokenizer.encode(text).ids

    def decode(self, token_ids):
        return self._tokenizer.decode(token_ids)


def read_tokenizer(version_folder):
    """Read the tokenizer of an exported version; bytes without a folder."""
    if version_folder is None:
        return Bytes()
    extra = Path(version_folder) / "assets.extra"
    description = json.loads((extra / "keras_moe.json").read_text("utf-8"))
    settings = description["tokenizer"] or {}
    match settings.get("kind"):
        case "bytes":
            return Bytes()
        case "tokenizers":
            return JsonTokenizer(extra / settings["file"])
        case kind:
            raise ValueError(
                'Expected a tokenizer of kind "bytes" or "tokenizers". '
                f"Received: {kind!r}. Send token ids of your own."
            )


def apply_chat_template(version_folder, message):
    """Write a user's message as the prompt of a model for chats.

    Needs `pip install jinja2`.
    """
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    extra = Path(version_folder) / "assets.extra"
    description = json.loads((extra / "keras_moe.json").read_text("utf-8"))
    source = (extra / description["chat_template"]).read_text("utf-8")
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(source).render(
        messages=[{"role": "user", "content": message}],
        add_generation_prompt=True,
    )


def pad(prompts):
    """Return token ids and padding mask of prompts, padded on the right."""
    length = max(map(len, prompts))
    padding = [[0] * (length - len(prompt)) for prompt in prompts]
    return {
        "token_ids": [
            [*prompt, *zeros]
            for prompt, zeros in zip(prompts, padding, strict=True)
        ],
        "padding_mask": [
            [1] * len(prompt) + zeros
            for prompt, zeros in zip(prompts, padding, strict=True)
        ],
    }


def continuations(prompts, outputs):
    """Cut the new tokens of each row out of what `generate` returned."""
    return [
        list(map(int, row[len(prompt) : length]))
        for prompt, row, length in zip(
            prompts, outputs["token_ids"], outputs["lengths"], strict=True
        )
    ]
