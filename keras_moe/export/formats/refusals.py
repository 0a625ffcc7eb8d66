"""What cannot be had, found out before work starts."""

import importlib.util

from keras_moe.experts.grouped_dense import GroupedDense
from keras_moe.export.formats.table import FORMATS
from keras_moe.layers.router import Router
from keras_moe.ops.all_layers import all_layers

# Converters keep weights as float32, whatever they are in the model.
BYTES_PER_WEIGHT = 4
# These make a constant of the slots that follow from the length of a row.
WITHOUT_CAPACITY = ("litert", "torch")


def find_format(name, options):
    """Look up a format by its name, and check its options.

    Args:
        name: string, a key of `FORMATS`.
        options: dict of further arguments.

    Returns:
        A `Format`.

    Raises:
        ValueError: if the format or an option is unknown.
        ImportError: if a package that it needs is not installed.
    """
    if name not in FORMATS:
        raise ValueError(
            f"Expected format to be one of {['tf_saved_model', *FORMATS]}. "
            f"Received: format={name!r}."
        )
    chosen = FORMATS[name]
    unknown = sorted(set(options) - set(chosen.options))
    if unknown:
        raise ValueError(
            f"Expected the options of format={name!r} to be among "
            f"{list(chosen.options)}. Received: {unknown}. Leave them out."
        )
    missing = [
        package
        for package in chosen.packages
        if importlib.util.find_spec(package) is None
    ]
    if missing:
        raise ImportError(
            f"Expected {' and '.join(missing)} to be installed for "
            f'format={name!r}. Install with: pip install "{chosen.install}"'
        )
    return chosen


def refuse_models(model, name):
    """Refuse a model that a format cannot hold.

    Args:
        model: a built `keras.Model`.
        name: string, a key of `FORMATS`.

    Raises:
        ValueError: says why, and what to do.
    """
    size = model.count_params() * BYTES_PER_WEIGHT
    if size > FORMATS[name].most_bytes:
        raise ValueError(
            f"Expected a model of at most {FORMATS[name].most_bytes} bytes "
            f"for format={name!r}. Received: {size} bytes. Use the format "
            "'tf_saved_model', 'openvino' or 'torch'."
        )
    for layer in all_layers(model):
        if (
            name in WITHOUT_CAPACITY
            and isinstance(layer, Router)
            and layer.capacity is not None
            and layer.capacity.eval_factor is not None
        ):
            raise ValueError(
                "Expected a model that drops no tokens in inference for "
                f"format={name!r}, which cannot divide the length of a row. "
                f"Received: {layer.capacity} of {layer.path}. Build the model "
                "with a capacity of eval_factor=None and load the weights, or "
                "use another format."
            )
        if isinstance(layer, GroupedDense) and layer.implementation != "auto":
            raise ValueError(
                f"Expected implementation='auto' for format={name!r}, as "
                "another backend writes the file. Received: "
                f"implementation={layer.implementation!r} of {layer.path}. "
                "Build the experts with implementation='auto' and load the "
                "weights."
            )
