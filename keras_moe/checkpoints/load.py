"""From a published checkpoint into a model."""

import keras
import numpy as np

from keras_moe.checkpoints.checkpoint_folder import SCALES
from keras_moe.checkpoints.checkpoint_folder import shorten
from keras_moe.checkpoints.quantized import refuse_quantized
from keras_moe.checkpoints.redundant import BUFFERS
from keras_moe.checkpoints.redundant import check_redundant
from keras_moe.checkpoints.redundant import tied_head
from keras_moe.checkpoints.rules import match

# A model of a few megabytes is loaded before a bar is drawn.
LONG = 256 * 2**20


def load_checkpoint(model, folder, checkpoint_format):
    """Fill a backbone's variables.

    Everything is checked before the first variable changes: names, shapes,
    files. One variable at a time is read and converted, so the memory needed
    beside the model's is that of the largest variable, in the file's dtype
    and in the backend's.

    Args:
        model: backbone.
        folder: `CheckpointFolder`.
        checkpoint_format: `CheckpointFormat`.

    Raises:
        ValueError: If anything is missing, left over or of another shape,
            quantized in a way that is not known here, or repeats something
            with other numbers; or if the model is quantized.

    Example:

    >>> import tempfile
    >>> from keras_moe.checkpoints import CheckpointFolder
    >>> from keras_moe.models import MixtralBackbone
    >>> sizes = dict(
    ...     vocabulary_size=8, num_layers=1, num_query_heads=2,
    ...     num_key_value_heads=1, hidden_dim=4, intermediate_dim=6,
    ...     num_experts=2,
    ... )
    >>> path = tempfile.mkdtemp()
    >>> backbone = MixtralBackbone(**sizes)
    >>> backbone.save_pretrained(path)
    >>> other = MixtralBackbone(**sizes)
    >>> load_checkpoint(other, CheckpointFolder(path), other.checkpoint_format)
    >>> for ours, theirs in zip(backbone.weights, other.weights):
    ...     if ours.trainable:
    ...         np.testing.assert_array_equal(ours, theirs)
    """
    refuse_quantized(model)
    redundant = (*checkpoint_format.redundant, *BUFFERS)
    ignored = checkpoint_format.ignored_in(folder.config)
    matches = match(
        model,
        checkpoint_format.rules,
        folder.shapes,
        (*ignored, *(each.pattern for each in redundant)),
    )
    used = {name for each in matches for name in each.names}
    _check_dtypes(folder, used)
    if head := tied_head(checkpoint_format.rules):
        redundant += head[1:]
    check_redundant(model, folder, redundant, sorted({*folder.shapes} - used))
    long = folder.nbytes > LONG
    progress = keras.utils.Progbar(len(matches), unit_name="tensor")
    for each in matches:
        _assign(each, folder)
        if long:
            progress.add(1)


def _check_dtypes(folder, names):
    """Raise if numbers would mean something else without their scales."""
    for name in sorted(names):
        dtype = folder.dtypes[name]
        if keras.backend.is_float_dtype(dtype.name) and dtype.itemsize > 1:
            continue
        stem = name.rpartition(".")[0]
        beside = [
            other
            for other in folder.shapes
            if other != name and other.rpartition(".")[0] == stem
        ]
        raise ValueError(
            "Expected floating-point numbers of 16 bits or more, or 8 bits "
            f"with `{name}{SCALES}`. Received: {name} of dtype {dtype.name} "
            f"with {shorten(beside) or 'nothing'} beside it. Save the model "
            "in bfloat16 with the code that quantized it."
        )


def _assign(each, folder):
    # A function, so that no array lives on while the next are read.
    shapes = [tuple(variable.shape) for variable in each.variables]
    arrays = [folder.read(name) for name in each.names]
    loaded = each.layout.load(arrays, shapes)
    for variable in each.variables:
        variable.assign(_assignable(loaded.pop(0), variable.dtype))


def _assignable(array, dtype):
    # Each backend takes NumPy arrays of its variable's dtype, but not of every
    # other. Without a copy, JAX would go on reading the file.
    dtype = keras.backend.standardize_dtype(dtype)
    return array.astype(dtype, copy=isinstance(array, np.memmap))
