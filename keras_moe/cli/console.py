"""How the commands write to the terminal."""

import sys

from rich.console import Console


def make_console(stderr=False):
    """Make a console that wraps at words on a terminal and nowhere else.

    Args:
        stderr: bool, whether to write to the standard error stream.

    Returns:
        `rich.console.Console`.
    """
    stream = sys.stderr if stderr else sys.stdout
    # In a file or a pipe a sentence stays on one line, so that `grep` finds it.
    return Console(
        stderr=stderr, highlight=False, soft_wrap=not stream.isatty()
    )


def print_error(sentence):
    """Write one sentence in the form of an error to the error stream.

    Args:
        sentence: str; markup in it is printed as it is.
    """
    console = make_console(stderr=True)
    console.print("[bold red]error:[/] " + sentence.replace("[", r"\["))
