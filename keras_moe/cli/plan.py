"""`keras-moe plan`: what a training step needs of a slice of TPUs."""

import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from keras_moe.cli.console import make_console
from keras_moe.cli.in_thread import in_thread
from keras_moe.cli.mesh import parse_mesh
from keras_moe.cli.stop_signals import INTERRUPTED

RECORD = "plan.json"
PICTURE = "plan.svg"
GIB = 1024**3


def plan(
    preset: Annotated[str, typer.Argument(help="Name of a preset.")],
    topology: Annotated[
        str, typer.Option(help="TPU version and slice, such as v5p:4x4x4.")
    ],
    batch: Annotated[
        int, typer.Option(min=1, help="Sequences per step, all devices.")
    ],
    mesh: Annotated[
        str | None,
        typer.Option(help="Devices per axis: data=8,expert=8."),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(help="full or tensor: how all kernels are split."),
    ] = None,
    sequence_length: Annotated[
        int, typer.Option(min=1, help="Tokens per sequence.")
    ] = 4096,
    optimizer: Annotated[
        str, typer.Option(help="A Keras optimizer: adamw, adafactor, ...")
    ] = "adamw",
    dtype: Annotated[
        str, typer.Option(help="Dtype policy of the model.")
    ] = "mixed_bfloat16",
    capacity_factor: Annotated[
        float, typer.Option(min=0, help="Slots over an equal share; 0: no cap.")
    ] = 1.25,
    remat: Annotated[
        bool, typer.Option(help="Recompute attention and experts backward.")
    ] = False,
    depths: Annotated[
        str,
        typer.Option(help="Sparse layers of the two compiled models, or all."),
    ] = "2,4",
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of plan.json and plan.svg; default: none."),
    ] = None,
):
    """Compile a training step for TPUs that are not there."""
    axes = {} if mesh is None else parse_mesh(mesh)
    pair = read_depths(depths)
    # TPUs run JAX, which would look for one here.
    os.environ.setdefault("KERAS_BACKEND", "jax")
    os.environ["JAX_PLATFORMS"] = "cpu"
    from keras_moe.cli.backend import import_models

    console = make_console()
    import_models()
    from keras_moe.planning import plan_training

    try:
        with _Clock(console) as clock:
            found = in_thread(
                plan_training,
                preset,
                topology,
                batch,
                **axes,
                shard=shard,
                sequence_length=sequence_length,
                optimizer=optimizer,
                dtype=dtype,
                capacity_factor=capacity_factor or None,
                remat=remat,
                depths=pair,
                report=clock.show,
            )
    except SystemExit:
        # Nothing is half written, and libtpu does not end in order while it
        # compiles.
        sys.stdout.flush()
        os._exit(INTERRUPTED)
    show(console, found)
    if out is not None:
        for path in write(found, out):
            console.print(str(path))
    if not found.fits:
        raise typer.Exit(1)


class _Clock:
    """Shows what is done and for how long, as each step takes minutes."""

    def __init__(self, console):
        from rich import progress

        self._console = console
        self._bar = progress.Progress(
            progress.SpinnerColumn(),
            progress.TimeElapsedColumn(),
            progress.TextColumn("{task.description}"),
            console=console,
            transient=True,
            # Elsewhere than on a terminal a moving line would be noise.
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("starting", total=None)

    def __enter__(self):
        self._bar.start()
        return self

    def __exit__(self, *error):
        self._bar.stop()

    def show(self, sentence):
        self._bar.update(self._task, description=sentence)
        if not self._console.is_terminal:
            self._console.print(sentence)


def read_depths(depths):
    """Read how many sparse layers the compiled models have.

    Args:
        depths: str, two numbers, or `"all"`.

    Returns:
        A pair of ints, or `None` for the whole model.

    Raises:
        ValueError: If it is something else.

    Example:

    >>> read_depths("2,4"), read_depths("all")
    ((2, 4), None)
    """
    if depths == "all":
        return None
    first, _, second = depths.partition(",")
    if not (first.isdecimal() and second.isdecimal()):
        raise ValueError(
            "Expected two numbers of sparse layers, or all. Received: "
            f"depths={depths}. Write for example 2,4."
        )
    return int(first), int(second)


def show(console, plan):
    """Print a plan as tables.

    Args:
        console: `rich.console.Console`.
        plan: `keras_moe.planning.TrainingPlan`.
    """
    from rich.table import Table

    table = Table("on one device", "GiB", title=plan.title)
    for name, size in plan.memory.items():
        table.add_row(name, f"{size / GIB:.2f}")
    words = "fits in" if plan.fits else "does not fit in"
    table.add_row(
        "in all", f"{plan.needed / GIB:.2f}, {words} {plan.available / GIB:.0f}"
    )
    console.print(table)
    table = Table("collective", "per step", "GiB of results on one device")
    for kind, traffic in plan.collectives.items():
        table.add_row(kind, str(traffic.times), f"{traffic.bytes / GIB:.3f}")
    console.print(table)
    table = Table("largest arrays", "MiB", "times", "made by")
    for each in plan.largest:
        shape = ",".join(map(str, each.shape))
        size = f"{each.bytes / 1024**2:,.0f}"
        table.add_row(
            f"{each.dtype}[{shape}]", size, str(each.times), each.made_by
        )
    console.print(table)
    console.print(
        f"{plan.flops:.3g} FLOPs per step, {plan.flops / plan.devices:.3g} on "
        "one device: of the model's matrix products, without attention scores "
        "and recomputation."
    )
    if plan.is_extrapolated:
        console.print(
            f"Extrapolated to {plan.layers} layers from models of "
            f"{plan.compiled_layers[0]} and {plan.compiled_layers[-1]}, "
            f"compiled in {plan.seconds} s. The largest arrays are those of "
            "the larger one."
        )


def write(plan, folder):
    """Write a plan as numbers and as a picture.

    Args:
        plan: `keras_moe.planning.TrainingPlan`.
        folder: `pathlib.Path`.

    Returns:
        list of `pathlib.Path`: the record, and the picture if matplotlib is
        there.
    """
    from keras_moe.cli.run_folder import written_whole

    with written_whole(folder / RECORD) as temporary:
        text = json.dumps(plan.to_dict(), indent=1)
        temporary.write_text(text + "\n", encoding="utf-8")
    if importlib.util.find_spec("matplotlib") is None:
        return [folder / RECORD]
    import matplotlib

    from keras_moe.visualization import plot_training_plan

    text_stays_text = matplotlib.rc_context({"svg.fonttype": "none"})
    with written_whole(folder / PICTURE) as temporary, text_stays_text:
        plot_training_plan(plan).savefig(temporary)
    return [folder / RECORD, folder / PICTURE]
