"""Classify and Regress: features in, classes with scores or values out."""

import numpy as np

from keras_moe.serving.errors import invalid

CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"


def stack_examples(examples, signature):
    """Make one array for each input from the features of examples.

    Args:
        examples: list of dicts from feature name to list of values.
        signature: `Signature`.

    Returns:
        dict from input name to array.

    Raises:
        ServingError: If there is no example, or the features do not fit.
    """
    if not examples:
        raise invalid("Expected at least one example. Received: none.")
    names = set(examples[0])
    arrays = {}
    for name in names:
        info = signature.inputs.get(name)
        sizes = info.shape[1:] if info is not None and info.shape else (None,)
        if any(set(each) != names for each in examples):
            raise invalid(
                f"Expected the features {sorted(names)} in every example. "
                "Received: an example with others."
            )
        rows = [each[name] for each in examples]
        try:
            array = np.array(rows)
            if array.dtype.kind in "SUO":
                array = np.array(rows, dtype=object)
            shape = [-1 if size is None else size for size in sizes]
            arrays[name] = array.reshape(len(rows), *shape)
        except ValueError as error:
            raise invalid(
                f"Expected the values of {name!r} to have the shape {sizes} "
                "in every example. Received: other numbers of values."
            ) from error
    return arrays


def check_fits(model, signature, method):
    """Refuse a signature that does not give classes or values.

    Args:
        model: `LoadedModel`.
        signature: `Signature`.
        method: string, `CLASSIFY` or `REGRESS`.

    Raises:
        ServingError: If it does not fit.
    """
    own = signature.proto.method_name
    fits = len(signature.outputs) == 1 and (
        own == method
        or method == REGRESS
        or model.description.task == "classifier"
    )
    if not fits:
        raise invalid(
            f"Expected a signature with method {method}, or one output of a "
            f"model of that kind. Received: signature {signature.name!r} "
            f"with method {own}, outputs {list(signature.outputs)}. Use "
            "predict."
        )


def read_scores(outputs):
    """Return the scores of the classes, one row for each example.

    Args:
        outputs: dict with one array of shape (B, C).

    Returns:
        list of lists of pairs of label, the class' number, and score.

    Raises:
        ServingError: If the output has another shape.
    """
    (scores,) = outputs.values()
    if scores.ndim != 2 or scores.dtype.kind != "f":
        raise invalid(
            "Expected a signature that gives one score for each class. "
            f"Received: an output of shape {scores.shape}. Use predict."
        )
    return [
        [(str(number), score) for number, score in enumerate(row)]
        for row in scores.tolist()
    ]


def read_values(outputs):
    """Return one value for each example.

    Args:
        outputs: dict with one array of shape (B,) or (B, 1).

    Returns:
        list of floats.

    Raises:
        ServingError: If the output has another shape.
    """
    (values,) = outputs.values()
    if values.dtype.kind != "f" or values.size != len(values):
        raise invalid(
            "Expected a signature that gives one number for each example. "
            f"Received: an output of shape {values.shape}. Use predict."
        )
    return values.reshape(-1).tolist()
