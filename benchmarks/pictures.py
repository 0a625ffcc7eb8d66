"""A run's ratios as pictures: a group of bars per question, grouped by case.

Every bar starts at 1.0 on a logarithmic axis: to the left we are better than
the rival, to the right worse. A black mark shows the target.
"""

from answers import every_answer
from drawing import COLOURS
from drawing import NAMES
from drawing import STYLE
from drawing import TEXT_COLOURS
from drawing import canvas
from drawing import in_words
from drawing import legend
from drawing import range_handle
from drawing import ratio_axis
from drawing import row_heading
from drawing import row_label

TITLES = {
    "layer": "One layer, forward and backward",
    "experts": "More experts, the same active arithmetic",
    "tokens": "From few to many tokens",
    "imbalance": "Uneven loads, no token dropped",
    "training": "Training a language model of two layers",
    "decoding": "Greedy decoding, four layers",
    "exported": "The same decoding inside an export",
    "families": "Forward pass of each architecture",
    "imports": "Time to import",
}
LABELS = 2.95  # Inches on the left of the bars.
BAR, GAP, HEADING = 0.2, 0.14, 0.34
TARGET = {"color": "black", "linewidth": 2.2, "solid_capstyle": "butt"}
VALUE = 0.37  # Inches that the number next to a bar takes, bold.


def draw(results):
    """Draw each benchmark of a run.

    Args:
        results: dict, as `run.py` writes it.

    Returns:
        dict: name of the benchmark -> `matplotlib.figure.Figure`. A
        benchmark without any value is left out.
    """
    import matplotlib

    benchmarks = {}
    for answer in every_answer(results):
        if answer["value"] is not None:
            benchmarks.setdefault(answer["benchmark"], []).append(answer)
    with matplotlib.rc_context(STYLE):
        return {
            name: _draw(f"{TITLES.get(name, name)} ({results['device']})", each)
            for name, each in benchmarks.items()
        }


def _draw(title, answers):
    cases = _groups(answers)
    num_groups = sum(len(groups) for groups in cases.values())
    height = HEADING * len(cases) + GAP * num_groups + BAR * len(answers)
    figure, axes = canvas(title, height, LABELS, right=0.3)
    marks = [mark for each in answers for mark in _marks(each)]
    factor = ratio_axis(axes, marks, VALUE + 0.08, ("better", "worse"))
    axes.set_xlabel("ratio: 1 is equal, 0.5 half, 2 double", fontsize=8)
    top = 0.0
    for case, groups in cases.items():
        row_heading(axes, top, HEADING - GAP / 2, case)
        top += HEADING
        for what, bars in groups.items():
            row_label(axes, top + BAR * len(bars) / 2, what)
            for answer in bars:
                _bar(axes, top + BAR / 2, answer, factor)
                top += BAR
            top += GAP
    legend(figure, _handles(answers))
    return figure


def _groups(answers):
    """Return heading -> label -> answers, the backends in one order."""
    alone = len({each["what"] for each in answers}) == 1
    cases = {}
    for each in answers:
        names = in_words(each["case"]), in_words(each["what"])
        case, what = names[::-1] if alone else names
        cases.setdefault(case, {}).setdefault(what, []).append(each)
    for groups in cases.values():
        for bars in groups.values():
            bars.sort(key=lambda each: list(COLOURS).index(each["backend"]))
    return cases


def _marks(answer):
    """Return the ratios that a bar has to show."""
    target = [] if answer["target"] is None else [answer["target"]]
    return [answer["value"], *(answer["range"] or []), *target]


def _bar(axes, y, answer, factor):
    value, target = answer["value"], answer["target"]
    axes.barh(
        y,
        value - 1,
        0.78 * BAR,
        left=1,
        color=COLOURS[answer["backend"]],
    )
    if answer["range"]:
        axes.plot(answer["range"], [y, y], color="black", linewidth=1)
    if target is not None:
        axes.plot([target] * 2, [y - 0.52 * BAR, y + 0.52 * BAR], **TARGET)
    # The number goes outside of the bar, its range and a target close by.
    outwards = 1 if value >= 1 else -1
    outermost = max if value >= 1 else min
    end = outermost([value, *(answer["range"] or [])])
    room = end * factor(outwards * VALUE)
    if target is not None and min(end, room) <= target <= max(end, room):
        end = target
    axes.text(
        end * factor(outwards * 0.05),
        y,
        f"{value:.2f}",
        ha="left" if value >= 1 else "right",
        va="center_baseline",
        fontsize=8,
        color=TEXT_COLOURS[answer["backend"]],
        fontweight="bold" if answer["met"] is False else "normal",
    )


def _handles(answers):
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    present = {each["backend"] for each in answers}
    handles = [
        Patch(color=colour, label=NAMES[backend])
        for backend, colour in COLOURS.items()
        if backend in present
    ]
    if any(each["range"] for each in answers):
        handles.append(range_handle("black"))
    if any(each["target"] is not None for each in answers):
        label = "target (number in bold: missed)"
        handles.append(
            Line2D(
                [],
                [],
                linestyle="",
                marker="|",
                markersize=11,
                color="black",
                markeredgewidth=2.2,
                label=label,
            )
        )
    return handles
