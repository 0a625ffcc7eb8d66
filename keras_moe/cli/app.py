"""The commands and how their errors are shown.

Commands import Keras only once they run, so that `--help` is quick and a
mistyped option does not wait for a backend to start.
"""

import os
import signal
import sys
from typing import Annotated

import typer

from keras_moe.cli.analyze import analyze
from keras_moe.cli.backend import check_backend
from keras_moe.cli.bench import bench
from keras_moe.cli.console import make_console
from keras_moe.cli.console import print_error
from keras_moe.cli.demo import demo
from keras_moe.cli.export import export
from keras_moe.cli.generate import generate
from keras_moe.cli.inspect import inspect
from keras_moe.cli.option_names import name_options
from keras_moe.cli.plan import plan
from keras_moe.cli.routing import balancing
from keras_moe.cli.routing import routers
from keras_moe.cli.serve import serve
from keras_moe.cli.stop_signals import INTERRUPTED
from keras_moe.cli.train import train
from keras_moe.version import __version__

app = typer.Typer(
    help="Train, run, export and inspect sparse Mixture-of-Experts models. "
    "KERAS_BACKEND=jax|torch|tensorflow selects the backend.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
COMMANDS = (
    train,
    generate,
    export,
    serve,
    inspect,
    plan,
    analyze,
    routers,
    balancing,
    bench,
    demo,
)
for command in COMMANDS:
    app.command()(name_options(command))


def _show_version(asked):
    if asked:
        typer.echo(f"keras-moe {__version__}")
        raise typer.Exit


@app.callback()
def prepare(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Show the version and exit.",
            is_eager=True,
            callback=_show_version,
        ),
    ] = False,
):
    """Check the environment before a command runs."""
    del version
    check_backend()


def run():
    """Run the command line; expected errors end in one sentence."""
    previous = {
        number: signal.signal(number, _stop)
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        app()
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        if os.environ.get("KERAS_MOE_TRACEBACK"):
            raise
        print_error(" ".join(str(error).split()) or type(error).__name__)
        make_console(stderr=True).print(
            "[dim]KERAS_MOE_TRACEBACK=1 shows where it came from.[/]"
        )
        sys.exit(1)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _stop(number, frame):
    # As an exception, so that files half written are removed on the way out.
    typer.echo("Stopped before the end.", err=True)
    raise SystemExit(INTERRUPTED)
