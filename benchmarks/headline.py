"""One picture of how much faster we are than the dense computation and peers.

Speed, not time: a ratio of the tables turned over, so that 2 is twice as fast.
"""

from answers import every_answer
from drawing import COLOURS
from drawing import NAMES
from drawing import STYLE
from drawing import TEXT_COLOURS
from drawing import WIDTH
from drawing import canvas
from drawing import in_words
from drawing import legend
from drawing import range_handle
from drawing import ratio_axis
from drawing import row_heading
from drawing import row_label

# Heading -> (benchmark, question, what we time), in the picture's order.
RIVALS = {
    "computing every expert for every token": [
        ("layer", "time / every expert", "layer"),
    ],
    "keras-hub on the same backend, which computes every expert": [
        ("training", "step / keras-hub, same backend", "training"),
        ("decoding", "step / keras-hub, same backend", "decoding"),
    ],
    "transformers, always on PyTorch": [
        ("layer", "time / transformers grouped_mm", "layer"),
        ("training", "step / transformers' best", "training"),
        ("decoding", "step / transformers' best", "decoding"),
    ],
    "a dense MLP of the same active FLOPs, where 1x is ideal": [
        ("layer", "time / dense MLP", "layer"),
    ],
}
MARKERS = {"jax": "o", "torch": "s", "tensorflow": "D"}
SHIFTS = {"jax": -0.05, "torch": 0.0, "tensorflow": 0.05}  # Equals stay apart.
ROW, GAP, HEADING = 0.24, 0.1, 0.34
LABELS = 1.75
COLUMN = 0.78  # Inches for a backend's numbers on the right.


def draw(runs):
    """Draw the headline.

    Args:
        runs: list of dict, as `run.py` writes them; together they need the
            benchmarks `layer`, `training` and `decoding`.

    Returns:
        `matplotlib.figure.Figure`, or `None` if one of them is missing.
    """
    import matplotlib

    answers = [
        each
        for run in runs
        for each in every_answer(run)
        if each["value"] is not None and each["backend"] in MARKERS
    ]
    needed = {name for rows in RIVALS.values() for name, _, _ in rows}
    if not needed <= {each["benchmark"] for each in answers}:
        return None
    sections = {rival: _rows(answers, rows) for rival, rows in RIVALS.items()}
    sections = {rival: rows for rival, rows in sections.items() if rows}
    with matplotlib.rc_context(STYLE):
        return _draw(f"How many times faster? ({runs[0]['device']})", sections)


def _rows(answers, questions):
    """Return label -> backend -> its answer."""
    rows = {}
    for benchmark, what, name in questions:
        for each in answers:
            if (each["benchmark"], each["what"]) == (benchmark, what):
                label = f"{name}, {_short(benchmark, each['case'])}"
                # Of several dtypes the first one, which has the targets.
                row = rows.setdefault(label, {})
                row.setdefault(each["backend"], each)
    return rows


def _short(benchmark, case):
    """Return what tells the cases of a benchmark apart."""
    part = -1 if benchmark == "decoding" else 0
    return in_words(case).split(", ")[part]


def _draw(title, sections):
    rows = [row for section in sections.values() for row in section.values()]
    backends = [name for name in MARKERS if any(name in row for row in rows)]
    height = (HEADING + GAP) * len(sections) + ROW * len(rows)
    figure, axes = canvas(title, height, LABELS, COLUMN * len(backends) + 0.2)
    answers = [each for row in rows for each in row.values()]
    values = [speed for each in answers for speed in _speeds(each)]
    ratio_axis(axes, values, 0.2, ("slower", "faster"), unit="x")
    axes.axvspan(axes.get_xlim()[0], 1, color="#FBF0E6", zorder=0)
    axes.set_xlabel("our speed over the rival's, logarithmic", fontsize=8)
    for column, backend in enumerate(backends):
        _number(axes, column, 0, NAMES[backend], backend, va="bottom")
    top = 0.0
    for rival, section in sections.items():
        row_heading(axes, top, HEADING - GAP, f"than {rival}")
        top += HEADING
        for label, row in section.items():
            _row(axes, top + ROW / 2, label, row, backends)
            top += ROW
        top += GAP
    handles = [_marker(name, label=NAMES[name]) for name in backends]
    legend(figure, [*handles, range_handle("#777777")])
    return figure


def _speeds(answer):
    """Return how many times faster: the median, then its range if known."""
    return [1 / ratio for ratio in (answer["value"], *(answer["range"] or []))]


def _row(axes, y, label, row, backends):
    row_label(axes, y, label)
    axes.axhline(y, color="#DDDDDD", linewidth=0.7, zorder=1)
    for column, backend in enumerate(backends):
        if backend in row:
            value, *range_ = _speeds(row[backend])
            height = y + SHIFTS[backend]
            mark = _marker(backend)
            mark.set_data([value], [height])
            axes.add_line(mark)
            axes.plot(
                range_,
                [height] * len(range_),
                color=COLOURS[backend],
                linewidth=1,
                zorder=2,
            )
            digits = 2 if value < 2 else 1 if value < 10 else 0
            text = f"{value:.{digits}f}x"
            _number(axes, column, y, text, backend, va="center_baseline")


def _number(axes, column, y, text, backend, va):
    width = axes.get_position().width * WIDTH
    axes.text(
        1 + COLUMN * (column + 1) / width,
        y,
        text,
        transform=axes.get_yaxis_transform(),
        ha="right",
        va=va,
        fontsize=8.5,
        color=TEXT_COLOURS[backend],
    )


def _marker(backend, **arguments):
    from matplotlib.lines import Line2D

    return Line2D(
        [],
        [],
        linestyle="",
        marker=MARKERS[backend],
        markersize=7,
        color=COLOURS[backend],
        markeredgecolor="white",
        markeredgewidth=0.6,
        zorder=3,
        **arguments,
    )
