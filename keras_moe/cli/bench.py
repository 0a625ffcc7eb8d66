"""`keras-moe bench`: run the benchmarks."""

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

# Next to the package in a clone, inside of it in a wheel.
FOLDERS = (
    Path(__file__).parents[2] / "benchmarks",
    Path(__file__).parents[1] / "benchmarks",
)


def bench(
    benchmark: Annotated[
        list[str] | None,
        typer.Argument(
            help="layer, experts, tokens, imbalance, training, decoding, "
            "exported, families, imports; default: all."
        ),
    ] = None,
    backend: Annotated[
        list[str] | None,
        typer.Option(
            help="jax, torch or tensorflow; repeatable; default: all."
        ),
    ] = None,
    scale: Annotated[
        str, typer.Option(help="Sizes: cpu, gpu, or tiny for a quick check.")
    ] = "cpu",
    rounds: Annotated[
        int | None, typer.Option(min=1, help="Number of measurement rounds.")
    ] = None,
    out: Annotated[
        Path, typer.Option(help="JSON file; tables and pictures go next to it.")
    ] = Path("runs/benchmarks/results.json"),
):
    """Measure speed against dense layers, keras-hub and transformers."""
    folder = next((each for each in FOLDERS if each.is_dir()), None)
    if folder is None:
        raise ValueError(
            "Expected the folder benchmarks/ next to the package or inside. "
            "Received: a package without it. Install keras-moe from its "
            "wheel or run from a clone."
        )
    command = [sys.executable, str(folder / "run.py"), *(benchmark or [])]
    for name in backend or []:
        command += ["--backend", name]
    if rounds is not None:
        command += ["--rounds", str(rounds)]
    command += ["--scale", scale, "--out", str(out)]
    raise typer.Exit(subprocess.run(command, check=False).returncode)
