"""From a published checkpoint into a model."""

import keras

from keras_moe.checkpoints.rules import match

# A model of a few megabytes is loaded before a bar is drawn.
LONG = 256 * 2**20


def load_checkpoint(model, folder, architecture):
    """Fill a backbone's variables.

    Everything is checked before the first variable changes: names, shapes,
    files. One variable at a time is converted, so the memory needed beside
    the model's is that of the largest variable.

    Args:
        model: backbone with `decoder_blocks`.
        folder: `CheckpointFolder`.
        architecture: `Architecture`.

    Raises:
        ValueError: If anything is missing, left over or of another shape.
    """
    matches = match(
        model,
        architecture.rules,
        folder.shapes,
        architecture.ignored_in(folder.config),
    )
    long = folder.nbytes > LONG
    progress = keras.utils.Progbar(len(matches), unit_name="tensor")
    for each in matches:
        shapes = [tuple(variable.shape) for variable in each.variables]
        arrays = [folder.read(name) for name in each.names]
        loaded = each.layout.load(arrays, shapes)
        for variable, array in zip(each.variables, loaded, strict=True):
            # No backend takes all of NumPy's foreign dtypes.
            variable.assign(array.astype("float32"))
        if long:
            progress.add(1)
