"""Text to token ids and back, as the version's description says."""

import pathlib

from keras_moe.serving.errors import invalid


class ByteTokenizer:
    """Token ids are the bytes of UTF-8."""

    def encode(self, text):
        """Turn a string into a list of ints."""
        return list(text.encode("utf-8"))

    def decode(self, token_ids):
        """Turn ints into a string; broken characters become marks."""
        text = bytes(token for token in token_ids if token < 256)
        return text.decode("utf-8", "replace")


class JsonTokenizer:
    """A `tokenizer.json`, read by the package tokenizers."""

    def __init__(self, file):
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise ImportError(
                "The tokenizer of this model needs the package tokenizers: "
                "pip install tokenizers"
            ) from error
        self._tokenizer = Tokenizer.from_file(str(file))

    def encode(self, text):
        """Turn a string into a list of ints."""
        return self._tokenizer.encode(text).ids

    def decode(self, token_ids):
        """Turn ints into a string, without special tokens."""
        return self._tokenizer.decode(token_ids)


def read_tokenizer(folder, description):
    """Read the tokenizer of a version.

    Args:
        folder: `pathlib.Path` of the version.
        description: `Description`.

    Returns:
        A tokenizer with `encode` and `decode`, or `None` if the version has
        none that the server knows.
    """
    settings = description.tokenizer or {}
    if settings.get("kind") == "bytes":
        return ByteTokenizer()
    if settings.get("kind") == "tokenizers":
        inside = pathlib.PurePosixPath(settings["file"])
        return JsonTokenizer(folder / "assets.extra" / inside)
    return None


def encode_prompt(tokenizer, text):
    """Turn a client's text into token ids.

    Args:
        tokenizer: tokenizer, or `None`.
        text: string.

    Returns:
        list of ints.

    Raises:
        ServingError: If there is no tokenizer, or the text is not Unicode.
    """
    if tokenizer is None:
        raise invalid(
            "Expected token_ids, because this model has no tokenizer that the "
            "server knows. Received: prompt. Tokenize the text yourself."
        )
    try:
        return tokenizer.encode(text)
    except UnicodeEncodeError as error:
        raise invalid(
            "Expected prompt to be Unicode text. Received: a lone surrogate "
            f"at position {error.start}. Remove it."
        ) from error


class TextStream:
    """Tells the text of a growing list of tokens piece by piece.

    A character whose bytes are cut stays back until it is whole.

    Args:
        tokenizer: tokenizer, or `None` for empty text.
        prompt: list of ints, the tokens in front.
    """

    def __init__(self, tokenizer, prompt):
        self._tokenizer = tokenizer
        self._prompt = list(prompt)
        self._before = tokenizer.decode(self._prompt) if tokenizer else ""
        self._sent = ""

    @property
    def text(self):
        """The text so far."""
        return self._sent

    def add(self, token_ids, final=False):
        """Return the text that is new.

        Args:
            token_ids: list of ints, all tokens behind the prompt so far.
            final: bool, whether no more will come.
        """
        if self._tokenizer is None:
            return ""
        # With the prompt: a tokenizer may drop the space in front of a text.
        text = self._tokenizer.decode([*self._prompt, *token_ids])
        if text.startswith(self._before):
            text = text[len(self._before) :]
        else:
            text = self._tokenizer.decode(list(token_ids))
        if not final:
            # The mark of a broken character may be that of one half told.
            text = text.rstrip("\N{REPLACEMENT CHARACTER}")
        if not text.startswith(self._sent):
            return ""
        new, self._sent = text[len(self._sent) :], text
        return new
