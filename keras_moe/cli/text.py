"""Text as bytes: the corpus, its split, its windows, its entropy."""

import sysconfig
import zlib
from pathlib import Path

import numpy as np

VOCABULARY_SIZE = 256
TEXT_SUFFIXES = {".py", ".txt", ".rst", ".md"}
# Test data and generated tables would teach the model noise.
SKIPPED_FOLDERS = {"site-packages", "test", "tests", "__pycache__"}
LARGEST_FILE = 1_000_000
# Below a thousand bytes a held-out loss says little.
SMALLEST_PART = 1000


def read_text(path=None, window=128):
    """Read text files and split them, by file, for training and validation.

    Without a path it is the Python standard library: its sources with their
    docstrings, and the language reference that `help()` shows
    (`pydoc_data/topics.py`). One file in twenty is held out; which one
    depends on its name alone. A single file, or a folder too small for that,
    is cut at nine tenths.

    Args:
        path: optional file or folder.
        window: int, bytes of the windows that both parts must have room for.

    Returns:
        Pair of uint8 arrays, training and held-out bytes.

    Raises:
        ValueError: If there is no text, or too little to hold some out.

    Example:

    >>> training, held_out = read_text()
    >>> len(training) > 10 * len(held_out) > 100_000
    True
    """
    root = Path(path or sysconfig.get_path("stdlib"))
    smallest = max(SMALLEST_PART, window + 1)
    parts: dict[bool, list] = {True: [], False: []}
    if root.is_file():
        parts[False].append(root.read_bytes())
    else:
        for file in _text_files(root):
            name = file.relative_to(root).as_posix()
            parts[zlib.crc32(name.encode()) % 20 == 0].append(file.read_bytes())
    training, held_out = (b"\n".join(parts[held]) for held in (False, True))
    if min(len(training), len(held_out)) < smallest:
        text = b"\n".join(filter(None, (training, held_out)))
        cut = len(text) - len(text) // 10
        training, held_out = text[:cut], text[cut:]
    if len(held_out) < smallest:
        raise ValueError(
            f"Expected at least {10 * smallest:,} bytes of text "
            f"({', '.join(sorted(TEXT_SUFFIXES))}), a tenth of which is held "
            f"out. Received: --text {root} with {len(text):,} bytes. Choose "
            "a larger file or folder."
        )
    return _bytes(training), _bytes(held_out)


def windows(text, count, length, seed):
    """Cut random windows for next-byte prediction.

    Args:
        text: uint8 array.
        count: int, number of windows.
        length: int L, tokens per window.
        seed: int.

    Returns:
        Inputs, a dict of int32 `token_ids` and `padding_mask` of shape
        (count, L), and labels, int32 (count, L): the bytes one step later.

    Raises:
        ValueError: If the text is shorter than a window.

    Example:

    >>> import numpy as np
    >>> inputs, labels = windows(np.arange(100, dtype="uint8"), 2, 8, seed=0)
    >>> bool(np.all(labels[:, :-1] == inputs["token_ids"][:, 1:]))
    True
    """
    if len(text) <= length:
        raise ValueError(
            "Expected more text than one window. Received: "
            f"{len(text)} bytes for windows of {length}. Choose a smaller "
            "`--sequence-length` or more text."
        )
    starts = np.random.default_rng(seed).integers(
        0, len(text) - length, size=count
    )
    return windows_at(text, starts, length)


def windows_at(text, starts, length):
    """Cut the windows that start at given places.

    Args:
        text: uint8 array.
        starts: int array of shape (count,), each `length + 1` bytes from the
            end or more.
        length: int L, tokens per window.

    Returns:
        Inputs and labels, as of `windows`.

    Example:

    >>> import numpy as np
    >>> text = np.arange(9, dtype="uint8")
    >>> inputs, labels = windows_at(text, np.array([2]), 4)
    >>> inputs["token_ids"].tolist(), labels.tolist()
    ([[2, 3, 4, 5]], [[3, 4, 5, 6]])
    """
    tokens = text[starts[:, None] + np.arange(length + 1)].astype("int32")
    token_ids, labels = tokens[:, :-1], tokens[:, 1:]
    return (
        {"token_ids": token_ids, "padding_mask": np.ones_like(token_ids)},
        labels,
    )


def unigram_entropy(text):
    """Compute the entropy of single bytes: what frequency alone predicts.

    Args:
        text: uint8 array.

    Returns:
        float, in nats per byte.

    Example:

    >>> import numpy as np
    >>> round(unigram_entropy(np.array([1, 1, 2, 2], "uint8")), 4)  # log(2)
    0.6931
    """
    counts = np.bincount(text, minlength=VOCABULARY_SIZE)
    frequency = counts[counts > 0] / len(text)
    return float(-np.sum(frequency * np.log(frequency)))


def encode(text):
    """Turn a string into an int32 array of its UTF-8 bytes.

    Args:
        text: str.

    Returns:
        int32 array of shape (L,).

    Example:

    >>> encode("ab").tolist()
    [97, 98]
    """
    return np.frombuffer(text.encode("utf-8"), "uint8").astype("int32")


def decode(token_ids):
    """Turn bytes back into a string; broken characters become marks.

    Args:
        token_ids: int array of shape (L,).

    Returns:
        str.

    Example:

    >>> decode([97, 98])
    'ab'
    """
    return bytes(int(token) for token in token_ids).decode("utf-8", "replace")


def _text_files(root):
    if not root.is_dir():
        raise ValueError(
            "Expected a text file or a folder of text files. Received: --text "
            f"{root}, which does not exist."
        )
    for file in sorted(root.rglob("*")):
        inner = set(file.relative_to(root).parts[:-1])
        if (
            file.suffix in TEXT_SUFFIXES
            and not inner & SKIPPED_FOLDERS
            and file.is_file()
            and file.stat().st_size <= LARGEST_FILE
        ):
            yield file


def _bytes(raw):
    return np.frombuffer(raw, "uint8")
