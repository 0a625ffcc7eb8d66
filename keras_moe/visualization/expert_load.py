"""Expert load over time, one heat map per layer."""

import math

import numpy as np

_MAX_COLUMNS = 4


def plot_expert_load(expert_load, steps=None):
    """Draw which experts the tokens went to, over time.

    One panel per layer, one row per expert, one column per report. White is
    the equal share, red is more, blue is less; the darkest blue is an expert
    that got nothing, the darkest red twice its share or more.

    Args:
        expert_load: dict: layer -> float array of shape (number of reports,
            E), each row fractions that sum to 1, as in
            `RoutingMonitor.expert_load`.
        steps: optional sequence of int, when the reports were made, as in
            `RoutingMonitor.report_steps`. Defaults to 0, 1, 2, ...

    Returns:
        A `matplotlib.figure.Figure`, which no window shows by itself:
        `figure.savefig("expert_load.png")`.

    Raises:
        ImportError: If matplotlib is missing.
        ValueError: If there is no report, an array has the wrong shape, or
            the number of reports differs.

    Example:

    >>> import numpy as np
    >>> load = np.array([[0.5, 0.5, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25]])
    >>> figure = plot_expert_load({"sparse_moe": load}, steps=[100, 200])
    >>> figure.axes[0].get_title()
    'sparse_moe'
    """
    figure_class = _figure_class()
    loads = {name: np.asarray(each) for name, each in expert_load.items()}
    steps = check_reports(loads, steps)
    columns = min(math.ceil(math.sqrt(len(loads))), _MAX_COLUMNS)
    rows = math.ceil(len(loads) / columns)
    figure = figure_class(
        figsize=(1.0 + 3.6 * columns, 0.6 + 2.4 * rows), layout="constrained"
    )
    panels = figure.subplots(rows, columns, squeeze=False)
    for panel in panels.flat[len(loads) :]:
        panel.remove()
    used = panels.flat[: len(loads)]
    for panel, (name, load) in zip(used, loads.items(), strict=True):
        image = _draw_layer(panel, name, load, steps)
    figure.colorbar(
        image, ax=list(used), extend="max", label="load / equal share"
    )
    figure.supxlabel("step", fontsize="medium")
    figure.supylabel("expert", fontsize="medium")
    return figure


def _draw_layer(panel, name, load, steps):
    image = panel.imshow(
        load.T * load.shape[1],
        aspect="auto",
        interpolation="nearest",
        cmap="RdBu_r",
        vmin=0.0,
        vmax=2.0,
    )
    panel.set_title(name, fontsize="small")
    panel.yaxis.get_major_locator().set_params(integer=True)
    shown = np.unique(np.linspace(0, len(steps) - 1, 5).round().astype(int))
    panel.set_xticks(shown, [str(steps[index]) for index in shown])
    return image


def check_reports(loads, steps):
    """Return the steps of the reports, if there is one for every row.

    Args:
        loads: dict: layer -> array that should be (number of reports, E).
        steps: sequence of int or `None`.

    Returns:
        list of int.

    Raises:
        ValueError: If there is no report or a shape does not fit.
    """
    shapes = {name: load.shape for name, load in loads.items()}
    if not loads or any(len(s) != 2 or 0 in s for s in shapes.values()):
        raise ValueError(
            "Expected arrays of shape (number of reports, E), with at least "
            f"one report. Received: shapes {shapes}. Pass the expert_load of "
            "a RoutingMonitor after `fit()`."
        )
    count = next(iter(shapes.values()))[0]
    steps = list(range(count) if steps is None else steps)
    if {len(steps)} != {shape[0] for shape in shapes.values()}:
        raise ValueError(
            "Expected one row per step in every array. Received: "
            f"{len(steps)} steps and shapes {shapes}. Pass report_steps and "
            "expert_load of the same RoutingMonitor."
        )
    return steps


def _figure_class():
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "The picture of the expert load needs matplotlib: "
            "pip install 'keras-moe[visualization]'"
        ) from error
    return Figure
