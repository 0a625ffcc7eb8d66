"""The commands and how their errors are shown.

Commands import Keras only once they run, so that `--help` is quick and a
mistyped option does not wait for a backend to start.
"""

import logging
import os
import sys

import typer
from rich.console import Console

from keras_moe.cli.bench import bench
from keras_moe.cli.demo import demo
from keras_moe.cli.export import export
from keras_moe.cli.generate import generate
from keras_moe.cli.inspect import inspect
from keras_moe.cli.train import train

app = typer.Typer(
    help="Train, run, export and inspect sparse Mixture-of-Experts models. "
    "KERAS_BACKEND=jax|torch|tensorflow picks the backend.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
for command in (train, generate, export, inspect, bench, demo):
    app.command()(command)


def run():
    """Run the command line; expected errors end in one sentence."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    try:
        app()
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        if os.environ.get("KERAS_MOE_TRACEBACK"):
            raise
        sentence = " ".join(str(error).split()) or type(error).__name__
        console = Console(stderr=True, soft_wrap=True, highlight=False)
        console.print(f"[bold red]error:[/] {escape(sentence)}")
        console.print("[dim]KERAS_MOE_TRACEBACK=1 shows where it came from.[/]")
        sys.exit(1)


def escape(text):
    """Keep square brackets in an error from being read as markup."""
    return text.replace("[", r"\[")
