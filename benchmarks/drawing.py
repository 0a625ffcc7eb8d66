"""What all pictures share: colours, words, a canvas in inches, the file."""

import math
import re

# Okabe and Ito's colours, which colour-blind readers tell apart.
COLOURS = {
    "jax": "#0072B2",
    "torch": "#D55E00",
    "tensorflow": "#009E73",
    "best": "#555555",
}
TEXT_COLOURS = {  # The same, dark enough for small letters on white.
    "jax": "#00568A",
    "torch": "#A34700",
    "tensorflow": "#00704F",
    "best": "#333333",
}
NAMES = {
    "jax": "JAX",
    "torch": "PyTorch",
    "tensorflow": "TensorFlow",
    "best": "fastest backend",
}
STYLE = {
    "svg.fonttype": "none",  # Text stays text.
    "svg.hashsalt": "keras_moe",  # The same results give the same file.
    "font.family": "sans-serif",
    # The first is the widest: what a reader has in its place fits as well.
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial", "sans-serif"],
    "font.size": 9,
}
WIDTH = 9.0  # Inches, as all lengths here.
HEAD, FOOT = 0.85, 0.55
# Numbers of an axis, from the finest: the first that have room.
TICKS = (
    (0.9, 0.95, 1, 1.05, 1.1, 1.15, 1.2),
    (0.6, 0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.3, 1.4, 1.6, 1.8, 2),
    (0.25, 0.33, 0.5, 0.67, 1, 1.5, 2, 3, 4, 6, 8),
    (0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 7, 10, 15, 20),
    (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20),
    (0.001, 0.01, 0.1, 1, 10, 100, 1000),
)


def in_words(case):
    """Spell out the sizes in the name of a case: `E=8 K=2 512x1024`."""
    case = re.sub(r"E=(\d+)", r"\1 experts,", case)
    case = re.sub(r"K=(\d+)", r"\1 per token,", case)
    case = re.sub(r"(\d+)x(\d+)", r"width \1, expert width \2,", case)
    return re.sub(r",( /|$)", r"\1", case)


def canvas(title, height, left, right):
    """Return a figure and axes whose vertical axis counts inches downwards.

    Args:
        title: str.
        height: float, of the axes.
        left: float, the room for labels on their left.
        right: float, the room on their right.

    Returns:
        `matplotlib.figure.Figure` and `matplotlib.axes.Axes`.
    """
    from matplotlib.figure import Figure

    total = HEAD + height + FOOT
    figure = Figure(figsize=(WIDTH, total), facecolor="white")
    axes = figure.add_axes(
        (
            left / WIDTH,
            FOOT / total,
            (WIDTH - left - right) / WIDTH,
            height / total,
        )
    )
    axes.set_ylim(height, 0)
    axes.set_yticks([])
    axes.spines[["left", "right", "top"]].set_visible(False)
    figure.text(
        0.1 / WIDTH,
        1 - 0.12 / total,
        title,
        fontsize=12,
        fontweight="bold",
        va="top",
    )
    return figure, axes


def ratio_axis(axes, values, margin, sides, unit=""):
    """Make the horizontal axis logarithmic, with 1.0 marked.

    Args:
        axes: of a `canvas`.
        values: list of float that must fit on it.
        margin: float, inches to leave free on either side of them.
        sides: two str, what the left and the right of 1.0 mean.
        unit: str, to put after each number.

    Returns:
        function of a length in inches: the factor that moves a ratio so far.
    """
    width = axes.get_position().width * WIDTH
    low, high = math.log10(min(1, *values)), math.log10(max(1, *values))
    decades = max(high - low, 0.1) / (width - 2 * margin)  # per inch

    def factor(inches):
        return 10 ** (inches * decades)

    start = 10**low / factor(margin)
    end = start * factor(width)
    axes.set_xscale("log")
    axes.set_xlim(start, end)
    ticks = _ticks(start, end, decades)
    axes.set_xticks(ticks, [f"{tick:g}{unit}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.tick_params(axis="x", length=3, color="#888888", labelsize=8)
    axes.grid(axis="x", color="#DDDDDD", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.axvline(1, color="black", linewidth=1.1, zorder=2.5)
    for text, side, shift in zip(
        (f"← {sides[0]}", f"{sides[1]} →"),
        ("right", "left"),
        (1 / factor(0.06), factor(0.06)),
        strict=True,
    ):
        axes.annotate(
            text,
            (shift, 1),
            (0, 3),
            xycoords=axes.get_xaxis_transform(),
            textcoords="offset points",
            ha=side,
            fontsize=8,
            color="#444444",
        )
    return factor


def row_heading(axes, top, height, text):
    """Write a heading on a band as wide as the figure."""
    from matplotlib.patches import Rectangle
    from matplotlib.transforms import blended_transform_factory

    where = blended_transform_factory(axes.figure.transFigure, axes.transData)
    side = 0.1 / WIDTH
    axes.add_patch(
        Rectangle(
            (side, top),
            1 - 2 * side,
            height,
            transform=where,
            facecolor="#E9EDF2",
            clip_on=False,
            zorder=3,
        )
    )
    axes.text(
        0.18 / WIDTH,
        top + height / 2,
        text,
        transform=where,
        va="center_baseline",
        fontweight="bold",
        zorder=4,
    )


def row_label(axes, y, text):
    """Write what a row shows, on the left of the axes."""
    axes.annotate(
        text,
        (0, y),
        (-8, 0),
        xycoords=axes.get_yaxis_transform(),
        textcoords="offset points",
        ha="right",
        va="center",
        annotation_clip=False,
    )


def legend(figure, handles):
    """Put a legend of one line under the title."""
    height = figure.get_size_inches()[1]
    figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(0.1 / WIDTH, 1 - 0.38 / height),
        ncols=len(handles),
        frameon=False,
        borderaxespad=0,
        borderpad=0,
        fontsize=8.5,
        handlelength=1.4,
        columnspacing=1.4,
    )


def range_handle(colour):
    """Return the legend's entry for the line through a bar or a dot."""
    from matplotlib.lines import Line2D

    return Line2D([], [], color=colour, linewidth=1, label="range of rounds")


def save(figure, path):
    """Write a figure as SVG: white ground, text as text, no date."""
    import matplotlib

    with matplotlib.rc_context(STYLE):
        figure.savefig(path, format="svg", metadata={"Date": None})


def _ticks(start, end, decades):
    for ticks in TICKS:
        inside = [tick for tick in ticks if start <= tick <= end]
        apart = min(
            (
                math.log10(b / a) / decades
                for a, b in zip(inside, inside[1:], strict=False)
            ),
            default=0,
        )
        ends = ticks[0] / start, end / ticks[-1]
        if apart > 0.38 and max(ends) < 2:
            return inside
    return inside
