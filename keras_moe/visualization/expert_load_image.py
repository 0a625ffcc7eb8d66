"""Expert load over time as a small image, drawn without matplotlib."""

import math

import numpy as np

from keras_moe.visualization.expert_load import check_reports

_MAX_COLUMNS = 4
_PANEL_WIDTH = 300
_PANEL_HEIGHT = 128
_MARGIN_LEFT = 68
_MARGIN_RIGHT = 12
_LINE = 20
_FONT_SIZE = 13

# Loads and their colours, as matplotlib's RdBu_r has them: none is dark blue,
# the equal share white, twice the share or more dark red.
_LOADS = (0.0, 0.5, 1.0, 1.5, 2.0)
_COLOURS = (
    (5, 48, 97),
    (67, 147, 195),
    (247, 247, 247),
    (214, 96, 77),
    (103, 0, 31),
)


def expert_load_image(expert_load, steps=None):
    """Draw which experts the tokens went to, over time, as pixels.

    The picture of `plot_expert_load` for TensorBoard, which brings Pillow but
    not matplotlib: one panel per layer, one row per expert, time to the right.
    White is the equal share, red is more, blue is less.

    Args:
        expert_load: dict: layer -> float array of shape (number of reports,
            E), each row fractions that sum to 1, as in
            `RoutingMonitor.expert_load`.
        steps: optional sequence of int, when the reports were made, as in
            `RoutingMonitor.report_steps`. Defaults to 0, 1, 2, ...

    Returns:
        A `PIL.Image.Image`.

    Raises:
        ImportError: If Pillow is missing.
        ValueError: If there is no report, an array has the wrong shape, or
            the number of reports differs.

    Example:

    >>> import numpy as np
    >>> load = np.array([[0.5, 0.5, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25]])
    >>> expert_load_image({"sparse_moe": load}, steps=[100, 200]).mode
    'RGB'
    """
    image_module, draw_module, font = _pillow()
    loads = {name: np.asarray(each) for name, each in expert_load.items()}
    steps = check_reports(loads, steps)
    columns = min(math.ceil(math.sqrt(len(loads))), _MAX_COLUMNS)
    rows = math.ceil(len(loads) / columns)
    heights = [_cell_height(load) * load.shape[1] for load in loads.values()]
    width = _MARGIN_LEFT + _PANEL_WIDTH + _MARGIN_RIGHT
    height = max(heights) + 3 * _LINE
    picture = image_module.new(
        "RGB", (columns * width, rows * height + 2 * _LINE), "white"
    )
    draw = draw_module.Draw(picture)
    for number, (name, load) in enumerate(loads.items()):
        left = number % columns * width + _MARGIN_LEFT
        top = number // columns * height + _LINE
        size = (_PANEL_WIDTH, heights[number])
        load = _at_most(_PANEL_WIDTH, load)
        panel = image_module.fromarray(_colours(load.T * load.shape[1]))
        nearest = image_module.Resampling.NEAREST
        picture.paste(panel.resize(size, nearest), (left, top))
        _label_panel(draw, font, left, top, size, name, load.shape[1], steps)
    _draw_scale(image_module, picture, draw, font, rows * height)
    return picture


def _cell_height(load):
    """Return the pixels of one expert's row."""
    return max(1, min(_PANEL_HEIGHT // load.shape[1], 32))


def _at_most(count, load):
    """Average neighbouring reports, so that each has a pixel of its own."""
    reports = load.shape[0]
    if reports <= count:
        return load
    starts = np.arange(count) * reports // count
    # (reports, E) -> (count, E)
    sums = np.add.reduceat(load, starts, axis=0)
    return sums / np.diff(starts, append=reports)[:, None]


def _colours(load):
    """Turn loads, 1 for the equal share, into uint8 colours (..., 3)."""
    channels = [
        np.interp(load, _LOADS, channel)
        for channel in zip(*_COLOURS, strict=True)
    ]
    return np.stack(channels, axis=-1).round().astype("uint8")


def _label_panel(draw, font, left, top, size, name, num_experts, steps):
    right, bottom = left + size[0], top + size[1]
    draw.rectangle((left - 1, top - 1, right, bottom), outline="gray")
    text = {"font": font, "fill": "black"}
    draw.text((left, top - 3), _shorten(font, name), anchor="ls", **text)
    for expert, place, anchor in (
        ("expert 0", top, "ra"),
        (str(num_experts - 1), bottom, "rs"),
    ):
        draw.text((left - 5, place), expert, anchor=anchor, **text)
    below = bottom + 3
    draw.text((left, below), f"step {steps[0]}", anchor="la", **text)
    draw.text((right, below), str(steps[-1]), anchor="ra", **text)


def _shorten(font, name):
    """Cut the beginning of a name that is wider than its panel."""
    shown = name
    while font.getlength(shown) > _PANEL_WIDTH and len(name) > 1:
        name = name[1:]
        shown = f"...{name}"
    return shown


def _draw_scale(image_module, picture, draw, font, top):
    """Draw the colours and say what they mean."""
    text = {"font": font, "fill": "black", "anchor": "ls"}
    base = top + _LINE
    x = _MARGIN_LEFT
    for word, load in (
        ("no token", 0),
        ("equal share", 1),
        ("twice that or more", 2),
    ):
        box = (x, base - 11, x + 14, base + 1)
        colour = tuple(int(c) for c in _colours(np.float64(load)))
        draw.rectangle(box, fill=colour, outline="gray")
        draw.text((x + 20, base), word, **text)
        x += 20 + int(font.getlength(word)) + 18


def _pillow():
    try:
        from PIL import Image
        from PIL import ImageDraw
        from PIL import ImageFont
    except ImportError as error:
        raise ImportError(
            "The image of the expert load needs Pillow: "
            "pip install 'keras-moe[tensorboard]'"
        ) from error
    return Image, ImageDraw, ImageFont.load_default(_FONT_SIZE)
