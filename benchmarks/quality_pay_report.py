"""Do experts pay: from runs and times of a step to factors and tables."""

import collections
import itertools
from typing import NamedTuple

import numpy as np

from quality_pay import BEST_NAMES
from quality_pay import DENSE
from quality_pay import NAMES
from quality_pay import RATES
from quality_pay import STEPS
from quality_pay import WIDTHS
from quality_pay import name_of
from turns import ratios


class Answer(NamedTuple):
    """What is known of one model at its best learning rate.

    Attributes:
        name: str.
        num_experts: int, 1 for the dense model.
        runs: dict from a number of steps to a list of runs, one per seed.
        fewer_steps: list of float, one per seed: by which factor fewer steps
            bring it to the dense model's final held-out loss, the mean of its
            seeds. 0 if none of its trainings gets there.
        step_times: list of float, one per round: the time of a step over
            that of the dense model. Empty if it was not measured.
        step_cpu_times: the same of processor time.
    """

    name: str
    num_experts: int
    runs: dict
    fewer_steps: list
    step_times: list
    step_cpu_times: list

    @property
    def faster(self):
        """Factors of time, one per seed: those of steps over the step's."""
        if not self.step_times:
            return []
        return [each / np.median(self.step_times) for each in self.fewer_steps]


def steps_to(loss, runs):
    """Return the first step at which a model has a held-out loss.

    Between two evaluations of a training the loss is a straight line.

    Args:
        loss: float.
        runs: list of dict, trainings of a model with one seed.

    Returns:
        float, of the training that is there first; infinity if none gets
        there.
    """
    return min(_first_step(loss, run["curves"]) for run in runs)


def _first_step(loss, curves):
    steps, losses = curves["held_out_step"], curves["held_out_loss"]
    if losses[0] <= loss:
        return float(steps[0])
    points = zip(steps, losses, strict=True)
    for (start, before), (end, after) in itertools.pairwise(points):
        if after <= loss:
            return start + (end - start) * (before - loss) / (before - after)
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
    found = []
    dense = losses_by_recipe(runs)[BEST_NAMES[1][max(STEPS[1])]]
    for num_experts, names in BEST_NAMES.items():
        own = {
            steps: [run for run in runs if run["recipe"] == name]
            for steps, name in names.items()
        }
        own = {steps: each for steps, each in own.items() if each}
        if not dense or not own:
            continue
        wall, cpu = (
            ratios(clock[NAMES[num_experts]][figure], clock[DENSE][figure])
            if NAMES[num_experts] in clock
            else []
            for figure in ("seconds", "cpu_seconds")
        )
        factors = [
            max(STEPS[1]) / steps_to(np.mean(dense), of_seed)
            for of_seed in _by_seed(own)
        ]
        found.append(
            Answer(NAMES[num_experts], num_experts, own, factors, wall, cpu)
        )
    return found


def _by_seed(runs):
    """Return a list of trainings for each seed."""
    found = collections.defaultdict(list)
    for run in itertools.chain(*runs.values()):
        found[run["seed"]].append(run)
    return list(found.values())


def losses_by_recipe(runs):
    """Return the final held-out losses of each recipe, one per seed.

    Args:
        runs: list of dict.

    Returns:
        dict from a recipe's name to a list of float.
    """
    losses = collections.defaultdict(list)
    for run in runs:
        losses[run["recipe"]].append(run["held_out_loss"])
    return losses


def rates_table(runs):
    """Return the held-out losses of all learning rates as Markdown.

    Args:
        runs: list of dict.

    Returns:
        str, empty without runs.
    """
    losses = losses_by_recipe(runs)
    columns = sorted({rate for rates in RATES.values() for rate in rates})
    rows = []
    for num_experts, steps in STEPS.items():
        names = [name_of(num_experts, rate, max(steps)) for rate in columns]
        cells = [spread(losses.get(name, []), 3) for name in names]
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
    trained = sorted({steps for each in STEPS.values() for steps in each})
    columns = (
        "model",
        "width",
        "parameters",
        "FLOPs per token",
        *(f"{steps:,} steps" for steps in trained),
        "violation",
        "fewer steps",
        "step, wall clock",
        "step, processor",
        "less time",
        "seeds",
    )
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for each in found:
        last = each.runs[max(each.runs)]
        cells = (
            each.name,
            str(WIDTHS[each.num_experts]),
            f"{last[0]['parameters']['total']:,}",
            f"{last[0]['flops_per_token']:,}",
            *(
                spread([one["held_out_loss"] for one in each.runs[steps]], 3)
                if steps in each.runs
                else ""
                for steps in trained
            ),
            spread([one["final"]["max_violation"] for one in last]),
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
            str(len(last)),
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
