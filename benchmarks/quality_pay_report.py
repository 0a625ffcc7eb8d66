"""Do experts pay: from runs and times of a step to factors and tables."""

import itertools
from typing import NamedTuple

import numpy as np

from quality_pay import BEST_NAMES
from quality_pay import DENSE
from quality_pay import NAMES
from quality_pay import RATES
from quality_pay import STEPS
from quality_pay import TIMED
from quality_pay import WIDTHS
from quality_pay import name_of
from turns import ratios


class Answer(NamedTuple):
    """What is known of one model at its best learning rate.

    Attributes:
        name: str.
        num_experts: int, 1 for the dense model.
        runs: dict from a number of steps to a list of runs, one per seed.
        fewer_steps: list of float, one per seed that the dense model has
            too: by which factor fewer steps bring it to the dense model's
            final held-out loss. 0 if no training brings it there.
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


def steps_to(loss, losses):
    """Return how many steps of training bring a model to a held-out loss.

    Between two trainings the loss is a straight line of the steps' logarithm.

    Args:
        loss: float.
        losses: dict from the steps of a training to its final loss.

    Returns:
        float; the smallest number of steps if that is enough, infinity if the
        largest is not.
    """
    steps = sorted(losses)
    if losses[steps[0]] <= loss:
        return float(steps[0])
    for fewer, more in itertools.pairwise(steps):
        if losses[more] <= loss:
            part = (losses[fewer] - loss) / (losses[fewer] - losses[more])
            return fewer * (more / fewer) ** part
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
    dense = _dense_losses(runs)
    for num_experts, names in BEST_NAMES.items():
        own = {
            steps: [run for run in runs if run["recipe"] == name]
            for steps, name in names.items()
        }
        own = {steps: each for steps, each in own.items() if each}
        if not dense or not own:
            continue
        wall, cpu = (
            ratios(clock[TIMED[num_experts]][figure], clock[TIMED[1]][figure])
            if TIMED[num_experts] in clock
            else []
            for figure in ("seconds", "cpu_seconds")
        )
        factors = [
            max(STEPS[1]) / steps_to(loss, _losses(own, seed))
            for seed, loss in dense.items()
            if _losses(own, seed)
        ]
        found.append(
            Answer(NAMES[num_experts], num_experts, own, factors, wall, cpu)
        )
    return found


def _dense_losses(runs):
    name = BEST_NAMES[1][max(STEPS[1])]
    return {
        run["seed"]: run["held_out_loss"]
        for run in runs
        if run["recipe"] == name
    }


def _losses(runs, seed):
    """Return the final losses of a seed, by the steps of the training."""
    return {
        steps: run["held_out_loss"]
        for steps, each in runs.items()
        for run in each
        if run["seed"] == seed
    }


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
    for num_experts, steps in STEPS.items():
        names = [name_of(num_experts, rate, max(steps)) for rate in columns]
        cells = [
            f"{losses[name]:.3f}" if name in losses else "" for name in names
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
