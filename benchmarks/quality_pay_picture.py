"""The picture of the group "pay": the loss on the way, and what it saves.

On the left the held-out loss, each line a training with a schedule of its own
that ends in its dots, a seed each. On the right by which factor fewer steps and
less time bring a sparse model to the dense model's final loss.
"""

import numpy as np

from drawing import FOOT
from drawing import HEAD
from drawing import STYLE
from drawing import WIDTH

COLOURS = ("#333333", "#56B4E9", "#0072B2", "#D55E00")  # Okabe and Ito's.
LEFT, GAP, RIGHT = 0.55, 0.85, 0.2  # Inches, as all lengths here.
HEIGHT = 3.0
SHARE = 0.58  # Of the room for axes that the curves have.
SMALL = 8


def draw(found):
    """Draw the answers.

    Args:
        found: list of `quality_pay_report.Answer`, the dense model first.

    Returns:
        `matplotlib.figure.Figure`.
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        total = HEAD + HEIGHT + FOOT
        figure = Figure(figsize=(WIDTH, total), facecolor="white")
        figure.text(
            0.1 / WIDTH,
            1 - 0.12 / total,
            "Experts of equal arithmetic: fewer steps to the same loss",
            fontsize=12,
            fontweight="bold",
            va="top",
        )
        room = WIDTH - LEFT - GAP - RIGHT
        widths = SHARE * room, (1 - SHARE) * room
        curves, factors = (
            figure.add_axes(
                (start / WIDTH, FOOT / total, width / WIDTH, HEIGHT / total)
            )
            for start, width in zip(
                (LEFT, WIDTH - RIGHT - widths[1]), widths, strict=True
            )
        )
        for axes in (curves, factors):
            axes.grid(color="#DDDDDD", linewidth=0.7)
            axes.spines[["right", "top"]].set_visible(False)
            axes.tick_params(length=3, color="#888888", labelsize=SMALL)
        _draw_curves(curves, found)
        _draw_factors(factors, found[1:])
    return figure


def _draw_curves(axes, found):
    axes.set_title("held-out loss, nats per byte", fontsize=9, pad=8)
    axes.set_xlabel("training step", fontsize=SMALL)
    highest = []
    for colour, each in zip(COLOURS, found, strict=False):
        for steps, runs in each.runs.items():
            losses = [run["curves"]["held_out_loss"] for run in runs]
            mean = np.mean(losses, axis=0)
            highest.append(mean[len(mean) // 10])
            axes.plot(
                runs[0]["curves"]["held_out_step"],
                mean,
                color=colour,
                linewidth=1.2,
                label=each.name if steps == max(each.runs) else None,
            )
            finals = [each[-1] for each in losses]
            axes.plot(
                [steps] * len(finals), finals, "o", color=colour, markersize=4
            )
    target = np.mean(_finals(found[0]))
    axes.axhline(target, color=COLOURS[0], linewidth=0.9, linestyle="--")
    axes.set_ylim(top=max(highest))
    axes.legend(frameon=False, fontsize=SMALL, loc="upper right")
    _keep_ticks_inside(axes)


def _finals(answer):
    return [run["held_out_loss"] for run in answer.runs[max(answer.runs)]]


def _draw_factors(axes, found):
    axes.set_title("factor to the dense model's final loss", fontsize=9, pad=8)
    axes.set_xlabel("number of experts", fontsize=SMALL)
    experts = [each.num_experts for each in found]
    for values, colour, line, label in (
        ([each.fewer_steps for each in found], "#0072B2", "-", "fewer steps"),
        ([each.faster for each in found], "#D55E00", "--", "less time"),
    ):
        known = [
            (x, each) for x, each in zip(experts, values, strict=True) if each
        ]
        if not known:
            continue
        x, means = zip(*((x, np.mean(each)) for x, each in known), strict=True)
        axes.plot(x, means, line, color=colour, marker="_", label=label)
        for x, each in known:
            axes.plot([x] * len(each), each, "o", color=colour, markersize=3.5)
    axes.set_xscale("log", base=2)
    axes.set_xticks(experts, [str(each) for each in experts])
    axes.margins(x=0.15)
    axes.set_ylim(bottom=0)
    axes.axhline(1, color="black", linewidth=0.9)
    axes.legend(frameon=False, fontsize=SMALL, loc="lower right")
    _keep_ticks_inside(axes, x=False)


def _keep_ticks_inside(axes, x=True):
    for axis in (axes.xaxis, axes.yaxis)[0 if x else 1 :]:
        low, high = sorted(axis.get_view_interval())
        axis.set_ticks([at for at in axis.get_ticklocs() if low <= at <= high])
