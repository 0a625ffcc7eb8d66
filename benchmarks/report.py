"""A run's results as a Markdown table and as pictures.

    python benchmarks/report.py benchmarks/results/cpu.json

writes `cpu.md` and `cpu_<benchmark>.svg` beside it (`cpu_layer.json`:
`cpu_layer.svg`).
"""

import json
import statistics
import sys
from pathlib import Path


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
    for match in results["matches"]:
        for answer in match["answers"]:
            value, target = answer["value"], answer["target"]
            verdict = {True: "met", False: "missed", None: ""}[answer["met"]]
            lines.append(
                f"| {match['benchmark']} | {match['case']} "
                f"| {match['backend']} | {answer['what']} "
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


def plot(results, folder, stem):
    """Draw each benchmark: seconds per turn, and the ratios as dots.

    Args:
        results: dict, as `run.py` writes it.
        folder: `Path` to write into.
        stem: str, how the file names begin.

    Returns:
        list of `Path`.
    """
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.fonttype"] = "none"  # Text stays text.
    from matplotlib import pyplot
    from matplotlib import ticker

    paths = []
    for benchmark in dict.fromkeys(m["benchmark"] for m in results["matches"]):
        matches = [m for m in results["matches"] if m["benchmark"] == benchmark]
        rows = [
            (f"{m['case']}\n{a['what']}, {m['backend']}", a)
            for m in matches
            for a in m["answers"]
            if a["value"] is not None
        ]
        if not rows:
            continue
        figure, axes = pyplot.subplots(
            figsize=(9, 0.8 + 0.45 * len(rows)), layout="constrained"
        )
        heights = range(len(rows), 0, -1)
        for height, (_, a) in zip(heights, rows, strict=True):
            colour = {True: "tab:green", False: "tab:red", None: "tab:blue"}
            axes.plot(a["value"], height, "o", color=colour[a["met"]])
            if a["target"] is not None:
                axes.plot(a["target"], height, "|", color="black", ms=14)
        axes.set_yticks(list(heights), [name for name, _ in rows], fontsize=7)
        axes.axvline(1.0, color="grey", linewidth=0.8)
        axes.set_xscale("log")
        for each in (
            axes.xaxis.set_major_formatter,
            axes.xaxis.set_minor_formatter,
        ):
            each(ticker.FuncFormatter(lambda x, _: f"{x:g}"))
        axes.set_xlabel("ratio (less is better); the bar is the target")
        axes.set_title(f"{benchmark}, {results['device']}")
        axes.grid(axis="x", which="both", alpha=0.3)
        name = stem if stem.endswith(benchmark) else f"{stem}_{benchmark}"
        path = folder / f"{name}.svg"
        figure.savefig(path)
        pyplot.close(figure)
        paths.append(path)
    return paths


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


def write(results, path):
    """Write the tables and the pictures beside the JSON file `path`."""
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
    path.with_suffix(".md").write_text("\n".join(parts) + "\n")
    return plot(results, path.parent, path.stem)


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        write(json.loads(Path(argument).read_text()), Path(argument))
