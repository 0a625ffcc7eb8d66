"""Run the benchmarks and print every ratio against its target.

    python benchmarks/run.py                     # all of them
    python benchmarks/run.py layer --backend jax --rounds 3
    python benchmarks/run.py layer --scale gpu --out gpu.json

Every figure is a ratio taken in one run: see `turns.py`. Results go to a JSON
file after each match, the tables and pictures beside it.
"""

import argparse
import datetime
import json
import os
import platform
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn
from rich.progress import MofNCompleteColumn
from rich.progress import Progress
from rich.progress import TextColumn
from rich.progress import TimeElapsedColumn

import report
from answers import answer
from sizes import SCALES
from suite import BACKENDS
from suite import SUITE
from turns import take_turns


def main():
    arguments = _parse()
    matches = [
        match
        for name in arguments.benchmark or SUITE
        for match in SUITE[name](
            SCALES[arguments.scale], arguments.backend or BACKENDS
        )
        if arguments.case in match.case
    ]
    console = Console(soft_wrap=True, highlight=False)
    results = {
        "date": datetime.date.today().isoformat(),
        "device": f"{os.cpu_count()} CPU cores, {platform.machine()}",
        "versions": {"python": platform.python_version()},
        "matches": [],
    }
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    ) as progress:
        task = progress.add_task("", total=len(matches))
        for match in matches:
            result = _play(match, arguments.rounds, progress, task)
            results["matches"].append(result)
            for record in result["records"].values():
                results["versions"].update(record.get("versions", {}))
                if record.get("device", "cpu") != "cpu":
                    results["device"] = record["device"]
            _save(results, arguments.out)
            progress.advance(task)
    console.print(report.table(results), markup=False)
    for line in report.failures(results):
        console.print(f"failed: {line}", markup=False)
    report.write({arguments.out: results})
    console.print(f"written: {arguments.out} and beside it")


def _play(match, rounds, progress, task):
    def show(text):
        progress.update(task, description=f"{match.benchmark}: {text}")

    records = take_turns(
        match.contestants,
        match.rounds if rounds is None else rounds,
        show,
    )
    return {
        "benchmark": match.benchmark,
        "case": match.case,
        "backend": match.backend,
        "answers": [answer(each, records) for each in match.questions],
        "records": records,
    }


def _save(results, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(results, indent=1))
    unfinished.replace(path)


def _parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "benchmark", nargs="*", help=f"of {', '.join(SUITE)}; default: all"
    )
    parser.add_argument("--backend", action="append", choices=BACKENDS)
    parser.add_argument("--case", default="", help="only cases that hold this")
    parser.add_argument("--rounds", type=int, help="turns of each contestant")
    parser.add_argument("--scale", choices=SCALES, default="cpu")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/benchmarks/results.json")
    )
    arguments = parser.parse_args()
    for name in arguments.benchmark:
        if name not in SUITE:
            parser.error(f"no benchmark {name!r}; known: {', '.join(SUITE)}")
    if arguments.out.is_dir():
        parser.error(f"--out takes a file's name, {arguments.out} is a folder")
    return arguments


if __name__ == "__main__":
    main()
