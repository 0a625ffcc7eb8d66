"""Name the outputs of a model for a serving signature."""

import keras


def name_outputs(outputs):
    """Flatten a structure of outputs into a dict with one name for each.

    A dict keeps its keys; positions become `output_0`, `output_1`, which are
    the names that Keras' own export gives.

    Args:
        outputs: one tensor, or a nested structure of tensors.

    Returns:
        A dict from name to tensor.

    Example:

    >>> from keras_moe.export.model_outputs import name_outputs
    >>> name_outputs({"logits": 1.0, "states": [2.0, 3.0]})
    {'logits': 1.0, 'states_0': 2.0, 'states_1': 3.0}
    >>> name_outputs(1.0)
    {'output_0': 1.0}
    """
    return {
        _join(path): tensor
        for path, tensor in keras.tree.flatten_with_path(outputs)
    }


def _join(path):
    """Join the steps to one output into its name."""
    steps = [str(step) for step in path] or ["0"]
    if steps[0].isdigit():
        steps.insert(0, "output")
    return "_".join(steps)
