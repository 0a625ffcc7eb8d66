"""A run's results as a Markdown table and as pictures.

    python benchmarks/report.py benchmarks/results/*.json

writes next to each file, for example `cpu.json`, the tables `cpu.md` and a
picture `cpu_<benchmark>.svg` of each benchmark (`cpu_layer.json`:
`cpu_layer.svg`); and next to the first file `headline.svg`, from the files
that were measured on the same device as the first.
"""

import json
import statistics
import sys
from pathlib import Path

import headline
import pictures
from answers import every_answer
from drawing import save


def table(results):
    """Return the answers as Markdown, one row each.

    Args:
        results: dict, as `run.py` writes it.

    Returns:
        str.
    """
    lines = [
        "| benchmark | case | backend | ratio | value | target | |",
        "|---|---|---|---|---|---|---|",
    ]
    for answer in every_answer(results):
        value, target = answer["value"], answer["target"]
        verdict = {True: "met", False: "missed", None: ""}[answer["met"]]
        lines.append(
            f"| {answer['benchmark']} | {answer['case']} "
            f"| {answer['backend']} | {answer['what']} "
            f"| {'failed' if value is None else f'{value:.2f}'} "
            f"| {'' if target is None else f'<= {target:.2f}'} "
            f"| {verdict} |"
        )
    return "\n".join(lines)


def failures(results):
    """Return one line for each contestant that failed."""
    return [
        f"{match['benchmark']}, {match['case']}: {record['error']}"
        for match in results["matches"]
        for record in match["records"].values()
        if "error" in record
    ]


def times(results):
    """Return each contestant's median time as Markdown."""
    lines = [
        "| benchmark | case | contestant | backend | ms | first step, s |",
        "|---|---|---|---|---|---|",
    ]
    for match in results["matches"]:
        for name, record in match["records"].items():
            if not record["seconds"]:
                continue
            seconds = statistics.median(record["seconds"])
            lines.append(
                f"| {match['benchmark']} | {match['case']} | {name} "
                f"| {record['backend']} | {1000 * seconds:.1f} "
                f"| {record['first_step_seconds']:.1f} |"
            )
    return "\n".join(lines)


def write(runs):
    """Write the tables and the pictures.

    Args:
        runs: dict: `Path` of a JSON file -> its content, as `run.py` writes
            it.
    """
    for path, results in runs.items():
        path.with_suffix(".md").write_text(_page(results))
        for name, figure in pictures.draw(results).items():
            stem = path.stem
            if not stem.endswith(name):
                stem = f"{stem}_{name}"
            save(figure, path.with_name(f"{stem}.svg"))
    first = next(iter(runs))
    device = runs[first]["device"]
    figure = headline.draw([r for r in runs.values() if r["device"] == device])
    if figure is not None:
        save(figure, first.with_name("headline.svg"))


def _page(results):
    versions = ", ".join(
        f"{name} {version}" for name, version in results["versions"].items()
    )
    parts = [
        f"# {results['device']}\n",
        f"{results['date']}; {versions}.\n",
        table(results),
        "\n## Times\n",
        times(results),
    ]
    if failures(results):
        parts += ["\n## Failed\n", *[f"- {line}" for line in failures(results)]]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    paths = [Path(argument) for argument in sys.argv[1:]]
    write({path: json.loads(path.read_text()) for path in paths})
