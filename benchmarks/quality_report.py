"""The runs of `quality.py` as Markdown tables and pictures.

python benchmarks/quality_report.py docs/quality    # only draw again
"""

import json
import sys
from pathlib import Path

import quality_clock
import quality_pay_picture
import quality_pay_report
import quality_pictures
from drawing import save
from quality_pay_report import spread
from quality_recipes import GROUPS

FILE = "runs.jsonl"
COLUMNS = {
    "held-out loss": lambda run: run["held_out_loss"],
    "violation": lambda run: run["final"]["max_violation"],
    "effective experts": lambda run: run["final"]["effective_experts"],
    "rows per token": lambda run: run["rows_per_token"],
}
# Of groups in which they say something.
MORE = {
    "capacity": {
        "dropped": lambda run: run["final"]["dropped_fraction"],
        "held-out loss, none dropped": lambda run: run.get(
            "held_out_loss_dropless", run["held_out_loss"]
        ),
    },
    "rate": {"z-loss": lambda run: run["final"]["router_z_loss"]},
}
DIGITS = {"held-out loss": 3, "held-out loss, none dropped": 3}


def read(path):
    """Return the runs of a file, none if there is no such file.

    Args:
        path: `pathlib.Path`.

    Returns:
        list of dict.
    """
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def write(path, runs):
    """Write the runs to a file, a line each; a file is whole or the old one.

    Args:
        path: `pathlib.Path`; its folder is made if it is not there.
        runs: list of dict.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text("".join(f"{json.dumps(run)}\n" for run in runs))
    unfinished.replace(path)


def by_recipe(runs, group):
    """Return the runs of a group's recipes.

    Args:
        runs: list of dict.
        group: `quality_recipes.Group`.

    Returns:
        dict from a recipe's name to its runs; recipes without any are left
        out. Empty if there is nothing to compare.
    """
    found = {
        name: [run for run in runs if run["recipe"] == name]
        for name in group.recipes
    }
    found = {name: each for name, each in found.items() if each}
    return found if len(found) > 1 else {}


def tables(runs, clock):
    """Return a Markdown table for each group that has runs.

    Numbers are means over the seeds, with the largest distance of a seed from
    the mean.

    Args:
        runs: list of dict.
        clock: dict, as `quality_clock.read` returns it.

    Returns:
        str.
    """
    parts = []
    for name, group in GROUPS.items():
        columns = {**COLUMNS, **MORE.get(name, {})}
        recipes = by_recipe(runs, group)
        if not recipes or group.curve is None:
            continue
        parts += [
            f"### {group.title}\n",
            f"| recipe | {' | '.join(columns)} | seeds |",
            "|---" * (len(columns) + 2) + "|",
        ]
        for recipe, each in recipes.items():
            cells = [
                spread([of_run(run) for run in each], DIGITS.get(column, 2))
                for column, of_run in columns.items()
            ]
            parts.append(f"| {recipe} | {' | '.join(cells)} | {len(each)} |")
        parts.append("")
    found = quality_pay_report.answers(runs, clock)
    for title, table in {
        GROUPS["rates"].title: quality_pay_report.rates_table(runs),
        GROUPS["pay"].title: quality_pay_report.table(found),
    }.items():
        if table:
            parts += [f"### {title}\n", table]
    return "\n".join(parts)


def figures(runs, clock):
    """Draw a picture for each group that has runs, and something to compare.

    Args:
        runs: list of dict.
        clock: dict, as `quality_clock.read` returns it.

    Returns:
        dict from a group's name to its `matplotlib.figure.Figure`.
    """
    drawn = {
        name: quality_pictures.draw(group, recipes)
        for name, group in GROUPS.items()
        if group.curve and (recipes := by_recipe(runs, group))
    }
    found = quality_pay_report.answers(runs, clock)
    if len(found) > 1:
        drawn["pay"] = quality_pay_picture.draw(found)
    return drawn


def report(folder):
    """Draw what a folder's files say, next to them.

    Args:
        folder: `pathlib.Path`.

    Returns:
        str, the tables.
    """
    runs = read(folder / FILE)
    clock = quality_clock.read(folder / quality_clock.FILE)
    for name, figure in figures(runs, clock).items():
        save(figure, folder / f"{name}.svg")
    return tables(runs, clock)


if __name__ == "__main__":
    print(report(Path(sys.argv[1])))
