"""What a training step needs of each device, as a picture."""

GIB = 1024**3
# Okabe and Ito's colours, which colour-blind readers tell apart.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7")


def plot_training_plan(plan):
    """Draw a plan's memory against what a device has, and what it sends.

    Args:
        plan: `keras_moe.planning.TrainingPlan`.

    Returns:
        A `matplotlib.figure.Figure`, which no window shows by itself:
        `figure.savefig("plan.svg")`.

    Raises:
        ImportError: If matplotlib is missing.

    Example:

    >>> from types import SimpleNamespace
    >>> plan = SimpleNamespace(
    ...     model="mixtral_8x7b", topology="v5p:4x4x4", available=95 * GIB,
    ...     memory={"temporary": 10 * GIB}, collectives={}, title="Mixtral",
    ... )
    >>> plot_training_plan(plan).axes[0].get_xlabel()
    'GiB on one device'
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "The picture of a plan needs matplotlib: "
            "pip install 'keras-moe[visualization]'"
        ) from error
    figure = Figure(figsize=(9, 4), layout="constrained", facecolor="white")
    memory, traffic = figure.subplots(2, 1, height_ratios=(1, 2))
    figure.suptitle(plan.title, fontsize="medium")
    _draw_memory(memory, plan)
    _draw_traffic(traffic, plan.collectives)
    for axes in (memory, traffic):
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
    return figure


def _draw_memory(axes, plan):
    left = 0.0
    for (name, size), colour in zip(
        plan.memory.items(), _COLOURS, strict=False
    ):
        axes.barh([0], [size / GIB], left=left, color=colour, label=name)
        left += size / GIB
    available = plan.available / GIB
    axes.axvline(available, color="black")
    axes.text(available, 0.55, f"{available:.0f} GiB", ha="right")
    axes.set_yticks([])
    axes.set_xlim(0, 1.05 * max(left, available))
    axes.set_xlabel("GiB on one device")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, frameon=False)


def _draw_traffic(axes, collectives):
    kinds = [*collectives]
    sizes = [collectives[kind].bytes / GIB for kind in kinds]
    bars = axes.barh(kinds, sizes, color="#56B4E9")
    axes.bar_label(
        bars,
        [f"{size:.3g} GiB, {collectives[kind].times} times"
         for kind, size in zip(kinds, sizes, strict=True)],
        padding=4,
    )  # fmt: skip
    axes.set_xlim(0, 1.4 * max([*sizes, 1e-9]))
    axes.invert_yaxis()
    axes.set_xlabel("GiB of results on one device and step, by collective")
