"""Errors of the package in the words of the command line."""

import functools
import inspect
import re
from typing import get_args

from typer.models import OptionInfo


def name_options(command):
    """Make a command's errors name its options, not Python's parameters.

    `top_k=9` becomes `--top-k 9`, and `overwrite=True` becomes `--overwrite`.
    Words that are not options of this command stay as they are.

    Args:
        command: function whose parameters Typer turns into options.

    Returns:
        A function of the same signature.
    """
    parameters = inspect.signature(command).parameters
    names = [
        name
        for name, parameter in parameters.items()
        if any(
            isinstance(each, OptionInfo)
            for each in get_args(parameter.annotation)
        )
    ]

    @functools.wraps(command)
    def with_option_names(*arguments, **options):
        try:
            return command(*arguments, **options)
        except ValueError as error:
            raise ValueError(in_options(str(error), names)) from error

    return with_option_names


def in_options(sentence, names):
    """Write parameters as options.

    Args:
        sentence: str.
        names: list of str, the parameters that are options.

    Returns:
        str.

    Example:

    >>> in_options("Received: top_k=9, E=4. Choose fewer `top_k`.", ["top_k"])
    'Received: --top-k 9, E=4. Choose fewer `--top-k`.'
    """
    for name in names:
        option = f"--{name.replace('_', '-')}"
        sentence = sentence.replace(f"`{name}`", f"`{option}`")
        sentence = re.sub(rf"\b{name}=True\b", option, sentence)
        sentence = re.sub(rf"\b{name}=", f"{option} ", sentence)
    return sentence
