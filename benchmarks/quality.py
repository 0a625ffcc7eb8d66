"""Train small language models by many recipes, and compare what they learn.

    make evidence                                          # everything
    KERAS_BACKEND=torch python benchmarks/quality.py balancing --seeds 1
    KERAS_BACKEND=jax python benchmarks/quality.py rates pay --out docs/quality

Byte-level models of the sizes that `quality_recipes.py` says, on the sources
and documentation of Python, three seeds each. A finished run is a line of
`runs.jsonl`; runs that are there are not repeated, so a run that is stopped
loses only itself. After the group "pay" the time of a step is measured. In the
end prints the tables and writes the pictures next to it.
"""

import argparse
import os
from pathlib import Path

if os.environ.get("KERAS_BACKEND") == "torch":
    # Loaded after TensorFlow, torch 2.13 crashes the process.
    import torch  # noqa: F401

from rich.console import Console
from rich.progress import BarColumn
from rich.progress import MofNCompleteColumn
from rich.progress import Progress
from rich.progress import TextColumn
from rich.progress import TimeElapsedColumn
from rich.progress import TimeRemainingColumn

import quality_clock
import quality_report
from quality_pay import TIMED
from quality_recipes import GROUPS
from quality_recipes import RECIPES
from quality_recipes import SCALES
from quality_training import train


def main(arguments=None):
    arguments = _parse(arguments)
    scale = SCALES[arguments.scale]
    if arguments.text is not None:
        scale = scale.with_text(str(arguments.text.resolve()))
    path = arguments.out / quality_report.FILE
    runs = quality_report.read(path)
    wanted = {
        (name, seed): RECIPES[name].complete(scale, seed)
        for seed in range(arguments.seeds)
        for group in arguments.group or GROUPS
        for name in GROUPS[group].recipes
        if seed < GROUPS[group].seeds and arguments.only in name
    }
    missing = {
        key: each for key, each in wanted.items() if not _done(runs, *key, each)
    }
    console = Console(soft_wrap=True, highlight=False)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    ) as progress:
        total = sum(each.steps for each in missing.values())
        task = progress.add_task("", total=total)
        for (name, seed), each in missing.items():
            progress.update(task, description=f"{name}, seed {seed}")
            run = train(RECIPES[name], each, lambda: progress.advance(task))
            runs.append({"recipe": name, "seed": seed, **run})
            quality_report.write(path, runs)
            console.print(
                f"{name}, seed {seed}: {run['held_out_loss']:.3f} nats per "
                f"byte, {run['seconds']:.0f} s",
                markup=False,
            )
        if arguments.rounds and "pay" in (arguments.group or GROUPS):
            quality_clock.measure(
                arguments.out / quality_clock.FILE,
                TIMED,
                arguments.scale,
                arguments.rounds,
                lambda text: progress.update(task, description=text),
            )
    console.print(quality_report.report(arguments.out), markup=False)
    console.print(f"written: {path} and pictures next to it")


def _done(runs, name, seed, settings):
    """Tell whether a run is there, and refuse one of other settings."""
    for run in runs:
        if (run["recipe"], run["seed"]) == (name, seed):
            if run["settings"] == settings.to_dict():
                return True
            raise ValueError(
                f"Expected runs of the settings asked for. Received: {name}, "
                f"seed {seed}, with {run['settings']} instead of "
                f"{settings.to_dict()}. Choose another --out, or remove it."
            )
    return False


def _parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "group", nargs="*", help=f"of {', '.join(GROUPS)}; default: all"
    )
    parser.add_argument(
        "--only", default="", help="only recipes whose name holds this"
    )
    parser.add_argument("--seeds", type=int, default=3, help="runs of each")
    parser.add_argument(
        "--rounds",
        type=int,
        default=11,
        help="turns of each model timed; 0: none",
    )
    parser.add_argument("--scale", choices=SCALES, default="cpu")
    parser.add_argument(
        "--text", type=Path, help="file or folder; default: Python's own"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("runs/evidence"), help="folder"
    )
    arguments = parser.parse_args(arguments)
    for name in arguments.group:
        if name not in GROUPS:
            parser.error(f"no group {name!r}; known: {', '.join(GROUPS)}")
    return arguments


if __name__ == "__main__":
    main()
