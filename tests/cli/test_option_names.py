"""Errors name options that the command has."""

from pathlib import Path
from typing import Annotated

import pytest
import typer

from keras_moe.cli.option_names import in_options
from keras_moe.cli.option_names import name_options

pytestmark = pytest.mark.once


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("Received: top_k=9, k=2.", "Received: --top-k 9, k=2."),
        ("`top_k` and `head_dim`", "`--top-k` and `head_dim`"),
        ("Pass overwrite=True.", "Pass --overwrite."),
        ("my_top_k=9", "my_top_k=9"),
    ],
)
def test_parameters_become_options(sentence, expected):
    assert in_options(sentence, ["top_k", "overwrite"]) == expected


def test_a_command_names_its_own_options_only():
    @name_options
    def command(
        path: Annotated[Path, typer.Argument(help="A folder.")],
        top_k: Annotated[int, typer.Option(help="Experts.")] = 2,
    ):
        raise ValueError(f"path={path}, top_k={top_k}, steps=3")

    with pytest.raises(ValueError, match="path=a, --top-k 4, steps=3"):
        command("a", top_k=4)
