"""JSON of TensorFlow Serving's REST interface: requests in, answers out."""

import json

import numpy as np

from keras_moe.serving.errors import invalid
from keras_moe.serving.json_arrays import BASE64
from keras_moe.serving.json_arrays import to_array
from keras_moe.serving.json_arrays import to_list


def parse_object(body):
    """Read the body of a request.

    Args:
        body: bytes.

    Returns:
        dict.

    Raises:
        ServingError: If it is not a JSON object in UTF-8.
    """
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise invalid(
            f"Expected the body to be JSON in UTF-8. Received: {error}."
        ) from error
    if not isinstance(content, dict):
        raise invalid(
            "Expected the body to be a JSON object. Received: "
            f"{type(content).__name__}."
        )
    return content


def read_signature_name(content):
    """Return the signature that a request names; empty for the default."""
    name = content.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid(
            "Expected signature_name to be a string. Received: "
            f"{type(name).__name__}."
        )
    return name


def read_inputs(content, signature):
    """Read the tensors of a predict request.

    Args:
        content: dict with `instances` (by rows) or `inputs` (by columns).
        signature: `Signature`.

    Returns:
        dict from input name to array.

    Raises:
        ServingError: If neither or both are there, or they are no tensors.
    """
    if ("instances" in content) == ("inputs" in content):
        raise invalid(
            "Expected either instances or inputs. Received: "
            f"{sorted(content)[:10]}."
        )
    if "inputs" in content:
        columns = content["inputs"]
        if not _is_named(columns):
            columns = {_only_input(signature): columns}
    else:
        columns = _transpose(content["instances"], signature)
    return {name: to_array(name, value) for name, value in columns.items()}


def read_examples(content):
    """Read the examples of a classify or regress request.

    Args:
        content: dict with `examples`, and with `context` for features that
            they share.

    Returns:
        list of dicts from feature name to list of values.

    Raises:
        ServingError: If there are none, or they are no objects.
    """
    examples = content.get("examples")
    context = content.get("context", {})
    if not isinstance(examples, list) or not all(
        map(_is_named, [context, *examples])
    ):
        raise invalid(
            "Expected examples to be a list of objects, and context an "
            "object. Received: something else."
        )
    return [
        {
            name: np.atleast_1d(to_array(name, value)).tolist()
            for name, value in {**context, **example}.items()
        }
        for example in examples
    ]


def write_outputs(outputs, by_rows):
    """Write the answer to a predict request.

    Args:
        outputs: dict from output name to array.
        by_rows: bool, whether the request had `instances`.

    Returns:
        bytes.
    """
    lists = {name: to_list(array) for name, array in outputs.items()}
    alone = len(lists) == 1
    if not by_rows:
        content = {"outputs": next(iter(lists.values())) if alone else lists}
    elif alone:
        content = {"predictions": next(iter(lists.values()))}
    else:
        content = {
            "predictions": [
                dict(zip(lists, row, strict=True))
                for row in zip(*lists.values(), strict=True)
            ]
        }
    return dump(content)


def dump(content):
    """Write a JSON object; NaN and infinity as JavaScript writes them."""
    return json.dumps(content, separators=(",", ":")).encode()


def _transpose(instances, signature):
    """Turn rows into columns."""
    if not isinstance(instances, list) or not instances:
        raise invalid(
            "Expected instances to be a list of at least one row. Received: "
            f"{type(instances).__name__}."
        )
    if not any(map(_is_named, instances)):
        return {_only_input(signature): instances}
    if not all(map(_is_named, instances)):
        raise invalid(
            "Expected all instances to be objects. Received: a mixture."
        )
    names = set(instances[0])
    if any(set(each) != names for each in instances):
        raise invalid(
            f"Expected the inputs {sorted(names)} in every instance, as in "
            "the first. Received: an instance with others."
        )
    return {name: [each[name] for each in instances] for name in names}


def _is_named(value):
    """Return whether a value is an object of inputs, not one of bytes."""
    return isinstance(value, dict) and set(value) != {BASE64}


def _only_input(signature):
    required = signature.required
    if len(required) != 1:
        raise invalid(
            f"Expected an object with the inputs {required}. Received: a "
            "value without a name."
        )
    return required[0]
