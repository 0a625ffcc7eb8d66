"""The shape contract: every way to learn an output's shape gives the same."""

import keras
import numpy as np


def check_shapes(new_layer, input_shape, dynamic_axes, expected_output_shape):
    """Check that eager calls, symbolic calls and `compute_output_shape` agree.

    Args:
        new_layer: function without arguments that makes a new layer.
        input_shape: tuple of ints.
        dynamic_axes: tuple of ints, the input axes that may be unknown.
        expected_output_shape: tuple of ints, a flat list of these, or `None`.

    Raises:
        AssertionError: when two ways disagree, or one disagrees with
            `expected_output_shape`.
    """
    layer = new_layer()
    outputs = layer(sample(input_shape))
    actual = shapes_of(outputs)
    if expected_output_shape is not None:
        expected = _flatten_shapes(expected_output_shape)
        require(
            actual == expected,
            f"Expected output shape {expected}. Received: {actual}.",
        )
    # The larger inputs show that nothing was learnt by heart in `build`.
    larger = _enlarge(input_shape, (0, *dynamic_axes), 1)
    for shape, output_shapes in (
        (input_shape, actual),
        (larger, shapes_of(layer(sample(larger)))),
    ):
        received = _computed_shapes(new_layer(), shape)
        require(
            received == output_shapes,
            f"Expected `compute_output_shape({shape})` to give "
            f"{output_shapes}, the shape of the output. Received: {received}.",
        )

    for axes in ((0,), (0, *dynamic_axes)):
        unknown = _enlarge(input_shape, axes, None)
        symbols = new_layer()(keras.KerasTensor(unknown, dtype="float32"))
        require(
            _structure(symbols) == _structure(outputs),
            "Expected a symbolic call to return the structure and dtypes of an "
            f"eager one, {_structure(outputs)}. "
            f"Received: {_structure(symbols)}.",
        )
        # Two sizes: a number in place of an unknown is wrong for one of them.
        possible = [
            _computed_shapes(new_layer(), _enlarge(input_shape, axes, extra))
            for extra in (0, 1)
        ]
        for way, received in (
            ("compute_output_shape", _computed_shapes(new_layer(), unknown)),
            ("a symbolic call", shapes_of(symbols)),
        ):
            require(
                all(_fit(received, shapes) for shapes in possible),
                f"Expected {way} to allow each of {possible} for inputs of "
                f"shape {unknown}, with None where it cannot know. "
                f"Received: {received}.",
            )


def shapes_of(outputs):
    """List the shapes of the tensors in a structure."""
    return [tuple(tensor.shape) for tensor in tensors_of(outputs)]


def tensors_of(outputs):
    """List the tensors in a structure, whose optional parts may be `None`."""
    return [part for part in keras.tree.flatten(outputs) if part is not None]


def sample(shape, seed=0):
    """Draw a float32 array of normal numbers, the same for the same seed."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal(shape).astype("float32")


def require(condition, message):
    """Raise an `AssertionError` unless the condition holds."""
    if not condition:
        raise AssertionError(message)


def _enlarge(shape, axes, extra):
    """Add `extra` to the sizes of the given axes; `None` makes them unknown."""
    return tuple(
        size if axis not in axes else None if extra is None else size + extra
        for axis, size in enumerate(shape)
    )


def _computed_shapes(layer, input_shape):
    try:
        return _flatten_shapes(layer.compute_output_shape(input_shape))
    except NotImplementedError as error:
        raise AssertionError(
            "Expected the layer to define `compute_output_shape`. "
            f"Received: {error}"
        ) from error


def _flatten_shapes(shapes):
    """List the shapes in a structure whose leaves are tuples of sizes."""
    if isinstance(shapes, dict):  # in the order of `keras.tree.flatten`
        shapes = [shapes[key] for key in sorted(shapes)]
    if all(size is None or isinstance(size, int) for size in shapes):
        return [tuple(shapes)]
    return [leaf for shape in shapes for leaf in _flatten_shapes(shape)]


def _fit(patterns, shapes):
    """Tell whether the shapes are possible where `None` means any size."""
    return [len(pattern) for pattern in patterns] == [
        len(shape) for shape in shapes
    ] and all(
        expected is None or expected == size
        for pattern, shape in zip(patterns, shapes, strict=True)
        for expected, size in zip(pattern, shape, strict=True)
    )


def _structure(outputs):
    """Describe the nesting of the outputs, with each tensor's dtype."""
    dtypes = keras.tree.map_structure(
        lambda tensor: (
            tensor is not None and keras.backend.standardize_dtype(tensor.dtype)
        ),
        outputs,
    )
    return str(dtypes)
