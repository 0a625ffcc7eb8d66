"""Do experts pay: from runs and times of a step to factors and tables."""

from typing import NamedTuple

import numpy as np

from quality_pay import BEST_RECIPES
from quality_pay import DENSE
from quality_pay import NAMES
from quality_pay import RATES
from quality_pay import WIDTHS
from quality_pay import name_of
from turns import ratios


class Answer(NamedTuple):
    """What is known of one model.

    Attributes:
        name: str.
        num_experts: int, 1 for the dense model.
        runs: list of dict, one per seed.
        fewer_steps: list of float, one per seed that the dense model has
            too: by which factor fewer steps bring it to the dense model's
            final held-out loss. 0 where it never gets there.
        step_times: list of float, one per round: the time of a step over
            that of the dense model. Empty if it was not measured.
        step_cpu_times: the same of processor time.
    """

    name: str
    num_experts: int
    runs: list
    fewer_steps: list
    step_times: list
    step_cpu_times: list

    @property
    def faster(self):
        """Factors of time, one per seed: those of steps over the step's."""
        if not self.step_times:
            return []
        return [each / np.median(self.step_times) for each in self.fewer_steps]


def steps_to(loss, run):
    """Return the step at which a run first has a held-out loss.

    Between two evaluations the loss is taken for a straight line.

    Args:
        loss: float.
        run: dict, of a long recipe.

    Returns:
        float; infinity if it never gets there.
    """
    steps = run["curves"]["held_out_step"]
    losses = run["curves"]["held_out_loss"]
    for index, reached in enumerate(losses):
        if reached <= loss:
            if index == 0:
                return float(steps[0])
            before = losses[index - 1]
            part = (before - loss) / (before - reached)
            return steps[index - 1] + part * (steps[index] - steps[index - 1])
    return float("inf")


def answers(runs, clock):
    """Compare each model at its best learning rate with the dense one.

    Args:
        runs: list of dict, lines of `runs.jsonl`.
        clock: dict, as `quality_clock.read` returns it.

    Returns:
        list of `Answer`, of the models that have runs, the dense one first;
        empty if it is missing.
    """
    dense = {
        run["seed"]: run for run in runs if run["recipe"] == BEST_RECIPES[1]
    }
    found = []
    for num_experts, recipe in BEST_RECIPES.items():
        own = [run for run in runs if run["recipe"] == recipe]
        if not dense or not own:
            continue
        wall, cpu = (
            ratios(clock[recipe][figure], clock[BEST_RECIPES[1]][figure])
            if recipe in clock
            else []
            for figure in ("seconds", "cpu_seconds")
        )
        found.append(
            Answer(
                NAMES[num_experts],
                num_experts,
                own,
                [
                    run["settings"]["steps"]
                    / steps_to(dense[run["seed"]]["held_out_loss"], run)
                    for run in own
                    if run["seed"] in dense
                ],
                wall,
                cpu,
            )
        )
    return found


def rates_table(runs):
    """Return the held-out losses of all learning rates as Markdown.

    Args:
        runs: list of dict.

    Returns:
        str, empty without runs.
    """
    losses = {
        run["recipe"]: run["held_out_loss"] for run in runs if run["seed"] == 0
    }
    columns = sorted({rate for rates in RATES.values() for rate in rates})
    rows = []
    for num_experts, rates in RATES.items():
        cells = [
            f"{losses[name]:.3f}"
            if rate in rates and (name := name_of(num_experts, rate)) in losses
            else ""
            for rate in columns
        ]
        if any(cells):
            rows.append(f"| {NAMES[num_experts]} | {' | '.join(cells)} |")
    if not rows:
        return ""
    head = f"| learning rate | {' | '.join(map(str, columns))} |"
    rule = "|---" * (len(columns) + 1) + "|"
    return "\n".join([head, rule, *rows, ""])


def table(found):
    """Return answers as a Markdown table.

    Args:
        found: list of `Answer`.

    Returns:
        str, empty if there is nothing to compare.
    """
    if len(found) < 2:
        return ""
    columns = (
        "model",
        "width",
        "parameters",
        "FLOPs per token",
        "held-out loss",
        "violation",
        "fewer steps",
        "step, wall clock",
        "step, processor",
        "less time",
        "seeds",
    )
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for each in found:
        run = each.runs[0]
        cells = (
            each.name,
            str(WIDTHS[each.num_experts]),
            f"{run['parameters']['total']:,}",
            f"{run['flops_per_token']:,}",
            spread([one["held_out_loss"] for one in each.runs], 3),
            spread([one["final"]["max_violation"] for one in each.runs]),
            *(
                ("",) * 4
                if each.name == DENSE
                else (
                    spread(each.fewer_steps),
                    _median(each.step_times),
                    _median(each.step_cpu_times),
                    spread(each.faster),
                )
            ),
            str(len(each.runs)),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def spread(values, digits=2):
    """Return the mean in words, with the farthest value's distance from it.

    Args:
        values: list of float.
        digits: int, after the decimal point.

    Returns:
        str, without a distance if there is one value; empty if none.
    """
    if not values:
        return ""
    mean = np.mean(values)
    text = f"{mean:.{digits}f}"
    if len(values) == 1:
        return text
    farthest = np.max(np.abs(np.array(values) - mean))
    return f"{text} ± {farthest:.{digits}f}"


def _median(values):
    return f"{np.median(values):.2f}" if values else ""
