"""`keras-moe analyze`: what the experts of a trained model do with texts."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from keras_moe.cli.backend import import_models
from keras_moe.cli.console import make_console

PAGE = "index.html"
RECORD = "analysis.json"


def analyze(
    model: Annotated[
        Path, typer.Argument(help="A .keras file or a run folder of `train`.")
    ],
    text: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]FILE",
            help="Text file, repeatable, with a name for the page; default: "
            "Python source and English of the standard library.",
        ),
    ] = None,
    compare: Annotated[
        Path | None,
        typer.Option(help="Another checkpoint of the same run."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of index.html and analysis.json; default: analysis/ "
            "next to the model."
        ),
    ] = None,
    tokens: Annotated[
        int, typer.Option(min=1, help="Largest number of tokens per text.")
    ] = 32768,
    window: Annotated[
        int, typer.Option(min=2, help="Tokens that the model reads at once.")
    ] = 128,
    capacity_factor: Annotated[
        float | None,
        typer.Option(
            help="Slots per expert over an equal share, to show the drops; "
            "default: the model's own while training."
        ),
    ] = None,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Windows per batch.")
    ] = 16,
):
    """Write a page on what the experts learnt: tokens, texts, positions."""
    from keras_moe.cli.language_model import load_model
    from keras_moe.cli.language_model import model_file
    from keras_moe.cli.run_folder import written_whole

    file = model_file(model)
    other = None if compare is None else model_file(compare)
    texts = read_texts(text) if text else standard_texts()
    import_models()
    from keras_moe.analysis import analyze as analyze_model
    from keras_moe.analysis import make_report
    from keras_moe.analysis import render_page

    analysis = analyze_model(
        load_model(file),
        texts,
        compare=None if other is None else load_model(other),
        window=window,
        max_tokens=max(tokens, window),
        capacity_factor=capacity_factor,
        batch_size=batch_size,
        # A moving bar would be noise in a file.
        verbose=int(sys.stdout.isatty()),
    )
    report = make_report(analysis, title=f"Experts of {file}")
    parts = {PAGE: render_page(report), RECORD: json.dumps(report)}
    out = file.parent / "analysis" if out is None else out
    for name, contents in parts.items():
        with written_whole(out / name) as temporary:
            temporary.write_text(contents, encoding="utf-8")
    console = make_console()
    for index, name in enumerate(analysis.layer_names):
        console.print(
            f"{name}: the token alone explains "
            f"{analysis.information.explained[index]:.0%} of first choices "
            f"(baseline {analysis.information.baseline[index]:.0%}), "
            f"{analysis.effective_experts[index]:.1f} effective experts"
        )
    console.print(f"{out / PAGE}")


def read_texts(given):
    """Read text files.

    Args:
        given: list of str, `NAME=FILE` or `FILE`, whose name is the file's.

    Returns:
        dict from name to str.

    Raises:
        ValueError: If a file is missing, is in no known encoding or is empty,
            or a name comes twice.
    """
    texts: dict[str, str] = {}
    for each in given:
        name, separator, path = each.partition("=")
        # A file may have an equals sign in its name.
        if not separator or Path(each).exists():
            name, path = "", each
        name = name or Path(path).name
        if name in texts:
            raise ValueError(
                "Expected texts of different names. Received: --text "
                f"{name!r} twice. Write --text NAME=FILE."
            )
        texts[name] = _read(Path(path))
    return texts


def standard_texts():
    """Return texts that every Python has.

    Returns:
        dict of str: Python source, the part of the standard library that
        `keras-moe train` holds out, and the English of `help()`.

    Example:

    >>> list(standard_texts())
    ['Python source', 'English']
    """
    from pydoc_data.topics import topics

    from keras_moe.cli.text import read_text

    _, held_out = read_text()
    return {
        "Python source": held_out.tobytes().decode("utf-8", "replace"),
        "English": "\n\n".join(topics.values()),
    }


def _read(path):
    if not path.is_file():
        raise ValueError(
            "Expected a text file. Received: --text "
            f"{path}, which does not exist or is no file. Check the path."
        )
    raw = path.read_bytes()
    marks = (b"\xff\xfe", b"\xfe\xff")
    encoding = "utf-16" if raw.startswith(marks) else "utf-8-sig"
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(
            "Expected text in UTF-8, or in UTF-16 with a byte order mark. "
            f"Received: --text {path}, which is neither. Convert it to UTF-8."
        ) from error
    if not text.strip():
        raise ValueError(
            f"Expected a text with some words. Received: --text {path}, which "
            "is empty. Choose another file."
        )
    return text
