"""A published tokenizer's files: read with it, kept by it, written again."""

import json
import warnings
from pathlib import Path

from keras_moe.checkpoints.published_settings import SPECIAL_TOKENS

TOKENIZER_CONFIG = "tokenizer_config.json"
# Beside the tokenizer itself, which stays out of this list when it is read.
FILES = (
    TOKENIZER_CONFIG,
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "merges.txt",
    "spiece.model",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
)


class TokenizerFiles:
    """Keeps the files of a published folder beside the tokenizer's own.

    Stands before a keras-hub tokenizer. The files are assets: `save`,
    `save_to_preset` and `save_pretrained` write them byte for byte.

    Args:
        published_name: optional str, name of the tokenizer's own file in a
            published folder.
        published_files: names of the other files, which come as assets.
        **kwargs: of the tokenizer.
    """

    def __init__(self, published_name=None, published_files=(), **kwargs):
        super().__init__(**kwargs)
        self.published_name = published_name or self.default_name
        self.published_files = dict.fromkeys(published_files, b"")

    # Own name and class in a published folder.
    default_name: str
    published_class: str

    @property
    def published_files(self):
        """dict of name -> bytes, all but the tokenizer's own file."""
        return dict(getattr(self, "_published_files", ()))

    @published_files.setter
    def published_files(self, files):
        # No dictionary: Keras would wrap it.
        self._published_files = tuple(files.items())

    @property
    def file_assets(self):
        """list of str: names of all files that are saved."""
        return [*self._own_assets, *self.published_files]

    @file_assets.setter
    def file_assets(self, names):
        self._own_assets = tuple(names or ())

    @property
    def special_token_ids(self):
        """list of int: token ids stripped from generated text.

        Those that the files name too, as transformers' `skip_special_tokens`
        has it.
        """
        named = {
            token_id
            for name in special_names(self.published_files)
            for token_id in [self.token_to_id(name)]
            # SentencePiece takes unknown names for its unknown token.
            if token_id is not None and self.id_to_token(token_id) == name
        }
        return sorted({*super().special_token_ids, *named})

    def published_contents(self):
        """Return the tokenizer's own file.

        Returns:
            bytes.
        """
        raise NotImplementedError

    def save_published_files(self, dir_path):
        """Write the other files.

        Args:
            dir_path: folder.
        """
        for name, contents in self.published_files.items():
            (Path(dir_path) / name).write_bytes(contents)

    def load_published_files(self, dir_path):
        """Read the other files.

        Args:
            dir_path: folder.
        """
        self.published_files = {
            name: (Path(dir_path) / name).read_bytes()
            for name in self.published_files
        }

    def get_config(self):
        return {
            **super().get_config(),
            "published_name": self.published_name,
            "published_files": [*self.published_files],
        }


def special_names(files):
    """List the special tokens that a tokenizer's settings name.

    All but the padding's.

    Args:
        files: dict of name -> bytes.

    Returns:
        list of str.

    Example:

    >>> config = b'{"bos_token": "<s>", "eos_token": {"content": "</s>"}}'
    >>> special_names({"tokenizer_config.json": config})
    ['<s>', '</s>']
    """
    found = []
    for file in (TOKENIZER_CONFIG, "special_tokens_map.json"):
        for key, value in json.loads(files.get(file, b"{}") or b"{}").items():
            # Padding is stripped by its mask: any word may be its token.
            if key.endswith("_token") and key != "pad_token":
                found.append(value)
            elif key in ("additional_special_tokens", "extra_special_tokens"):
                found += value.values() if isinstance(value, dict) else value
    names = [
        each["content"] if isinstance(each, dict) else each for each in found
    ]
    return [each for each in dict.fromkeys(names) if isinstance(each, str)]


def read_files(folder, but):
    """Read the files beside a tokenizer.

    Args:
        folder: path in the layout of Hugging Face.
        but: name of the tokenizer's own file.

    Returns:
        dict of name -> bytes.
    """
    folder = Path(folder)
    return {
        name: (folder / name).read_bytes()
        for name in FILES
        if name != but and (folder / name).is_file()
    }


def files_of(tokenizer):
    """Return the files that make a tokenizer of a published folder.

    Args:
        tokenizer: optional tokenizer.

    Returns:
        dict of name -> bytes; empty, with a warning, for a tokenizer of
        another class.
    """
    if tokenizer is None:
        return {}
    if not isinstance(tokenizer, TokenizerFiles):
        warnings.warn(
            "Expected a `JsonTokenizer` or a `SentencePieceTokenizer` to "
            f"write. Received: {type(tokenizer).__name__}. The folder gets no "
            "tokenizer; copy its files there.",
            stacklevel=4,
        )
        return {}
    own = {tokenizer.published_name: tokenizer.published_contents()}
    beside = tokenizer.published_files or _new_files(tokenizer)
    return {**beside, **own}


def settings_with(tokenizer, settings):
    """Let settings name the special tokens of a tokenizer that is new.

    Args:
        tokenizer: optional tokenizer.
        settings: optional dict, as from `read_settings`.

    Returns:
        dict, as from `read_settings`, with `"special_tokens"`; unchanged if
        the tokenizer came from a published folder too.
    """
    published = getattr(tokenizer, "published_files", None)
    if settings is not None and (tokenizer is None or published):
        return settings
    if tokenizer is None:
        return {}
    settings = settings or {"config": None, "generation_config": None}
    token_ids = _special_token_ids(tokenizer)
    generation = {**(settings["generation_config"] or {}), **token_ids}
    return {
        **settings,
        "special_tokens": token_ids,
        "generation_config": generation,
    }


def _special_token_ids(tokenizer):
    start = _first(getattr(tokenizer, "start_token_id", None))
    first = getattr(tokenizer, "end_token_id", None)
    ends = [first, getattr(tokenizer, "end_token2_id", None)]
    ends += getattr(tokenizer, "stop_token_ids", ())
    ends = [*dict.fromkeys(end for end in ends if end is not None)]
    values = (
        start,
        ends if len(ends) > 1 else _first(ends),
        getattr(tokenizer, "pad_token_id", None),
    )
    return dict(zip(SPECIAL_TOKENS, values, strict=True))


def _new_files(tokenizer):
    """Write what transformers wants to know of a new tokenizer."""
    token_ids = _special_token_ids(tokenizer)
    config = {"tokenizer_class": tokenizer.published_class}
    for key, token_id in token_ids.items():
        token_id = _first(token_id)
        if token_id is not None:
            name = key.removesuffix("_id")
            config[name] = tokenizer.id_to_token(token_id)
    config["add_bos_token"] = token_ids["bos_token_id"] is not None
    contents = json.dumps(config, indent=2, ensure_ascii=False)
    return {TOKENIZER_CONFIG: contents.encode("utf-8")}


def _first(token_id):
    if isinstance(token_id, list | tuple):
        return token_id[0] if token_id else None
    return token_id
