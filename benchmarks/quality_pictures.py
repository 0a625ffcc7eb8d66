"""The picture of a group of recipes: the loss on the left, a curve right.

On the left a dot for each seed and a mark at their mean; the row's colour and
line are those of the curve on the right, a mean over the seeds.
"""

import numpy as np

from drawing import FOOT
from drawing import HEAD
from drawing import STYLE
from drawing import WIDTH

# Okabe and Ito's colours, and lines, for more rows than there are colours.
COLOURS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#8A6D00",
    "#333333",
)
LINES = ("-", "--", ":")
LABELS, GAP, RIGHT = 2.35, 0.75, 0.15  # Inches, as all lengths here.
ROW, SMALLEST = 0.3, 2.1
NUMBER = 0.5  # What the number right of the dots takes.
SHARE = 0.42  # Of the room for axes that the dots have.


def draw(group, recipes):
    """Draw a group.

    Args:
        group: `quality_recipes.Group`.
        recipes: dict from a recipe's name to its runs.

    Returns:
        `matplotlib.figure.Figure`.
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        height = max(SMALLEST, ROW * len(recipes))
        total = HEAD + height + FOOT
        figure = Figure(figsize=(WIDTH, total), facecolor="white")
        figure.text(
            0.1 / WIDTH,
            1 - 0.12 / total,
            group.title,
            fontsize=12,
            fontweight="bold",
            va="top",
        )
        room = WIDTH - LABELS - NUMBER - GAP - RIGHT
        widths = SHARE * room, (1 - SHARE) * room
        starts = LABELS, WIDTH - RIGHT - widths[1]
        dots, curves = (
            figure.add_axes(
                (start / WIDTH, FOOT / total, width / WIDTH, height / total)
            )
            for start, width in zip(starts, widths, strict=True)
        )
        _draw_losses(dots, recipes)
        _draw_curves(curves, group, recipes)
    return figure


def _style(index):
    return COLOURS[index % len(COLOURS)], LINES[index // len(COLOURS)]


def _draw_losses(axes, recipes):
    axes.set_title("held-out loss, nats per byte", fontsize=9, pad=8)
    axes.set_ylim(len(recipes) - 0.5, -0.5)
    axes.set_yticks([])
    axes.grid(axis="x", color="#DDDDDD", linewidth=0.7)
    axes.spines[["left", "right", "top"]].set_visible(False)
    axes.tick_params(axis="x", length=3, color="#888888", labelsize=8)
    axes.locator_params(axis="x", nbins=4)
    axes.margins(x=0.1)
    for row, (name, runs) in enumerate(recipes.items()):
        colour, line = _style(row)
        losses = [run["held_out_loss"] for run in runs]
        axes.plot(losses, [row] * len(losses), "o", color=colour, markersize=4)
        axes.plot(
            np.mean(losses), row, "|", color=colour, markersize=13, mew=1.8
        )
        axes.plot(
            [-0.16, -0.04],
            [row, row],
            line,
            color=colour,
            transform=axes.get_yaxis_transform(),
            clip_on=False,
        )
        for x, side, text in (
            (-0.2, "right", name),
            (1.04, "left", f"{np.mean(losses):.3f}"),
        ):
            axes.text(
                x,
                row,
                text,
                transform=axes.get_yaxis_transform(),
                ha=side,
                va="center_baseline",
                fontsize=8.5,
            )
    _keep_ticks_inside(axes.xaxis)


def _draw_curves(axes, group, recipes):
    from matplotlib.ticker import LogLocator

    axes.set_title(group.label, fontsize=9, pad=8)
    axes.grid(color="#DDDDDD", linewidth=0.7)
    axes.spines[["right", "top"]].set_visible(False)
    axes.tick_params(length=3, color="#888888", labelsize=8)
    by_position = group.curve == "dropped_by_position"
    for row, runs in enumerate(recipes.values()):
        colour, line = _style(row)
        curves = [run["curves"].get(group.curve) for run in runs]
        if None in curves:  # Nothing is dropped without a capacity.
            continue
        x = runs[0]["curves"]["step"]
        if by_position:
            length = runs[0]["settings"]["sequence_length"]
            x = (np.arange(len(curves[0])) + 0.5) * length / len(curves[0])
        axes.plot(x, np.mean(curves, axis=0), line, color=colour)
    if group.logarithmic:
        axes.set_yscale("log", subs=[])
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("")
    if by_position:
        axes.set_ylim(0)
    axes.set_xlabel("position" if by_position else "training step", fontsize=8)
    _keep_ticks_inside(axes.xaxis)
    _keep_ticks_inside(axes.yaxis)


def _keep_ticks_inside(axis):
    low, high = sorted(axis.get_view_interval())
    axis.set_ticks([at for at in axis.get_ticklocs() if low <= at <= high])
