"""Describe what a model takes: name, shape and dtype of every input."""

from typing import NamedTuple

import keras


class ModelInput(NamedTuple):
    """Description of one input of a model.

    Attributes:
        name: string, the input's key in the serving signature.
        shape: tuple of ints and `None`s; `None` is a size left open.
        dtype: string, such as `"int32"`.
        default: nested list that stands in for an input that a request leaves
            out; `None` if no request may leave it out.
    """

    name: str
    shape: tuple
    dtype: str
    default: list | None = None


def describe_model_inputs(model, input_signature=None):
    """Describe the inputs of a built model, in the order it flattens them.

    The batch size is left open. Every other size is the model's own. An
    `input_signature` replaces the description of the inputs it names.

    Args:
        model: a built `keras.Model`.
        input_signature: `None`, or a dict from input name to an object with
            `shape` and `dtype` (`keras.InputSpec`, `keras.KerasTensor`), or
            one such object for a model with one input. Subclassed models
            record no dtypes, so they need it.

    Returns:
        A tuple of `ModelInput`.

    Raises:
        ValueError: if the model is not a built `keras.Model`, or the
            signature does not fit it.
    """
    if not isinstance(model, keras.Model):
        raise ValueError(
            "Expected a keras.Model. "
            f"Received: model={model!r} of type {type(model).__name__}. "
            "Wrap a layer in keras.Sequential([keras.Input(...), layer])."
        )
    own_inputs = getattr(model, "inputs", None) if model.built else None
    if not model.built:
        raise ValueError(
            "Expected a built model. "
            f"Received: model={model.name!r} with built=False. "
            "Call it once on a batch, or give it a keras.Input."
        )
    if own_inputs is None:
        return _describe_from_signature(model, input_signature)
    described = tuple(
        ModelInput(name, (None, *tensor.shape[1:]), str(tensor.dtype))
        for name, tensor in zip(
            _input_names(model, own_inputs), own_inputs, strict=True
        )
    )
    if input_signature is None:
        return described
    return _apply_signature(described, input_signature)


def pack_model_inputs(model, tensors):
    """Arrange tensors into the structure that the model's `call` takes.

    Args:
        model: a built `keras.Model`.
        tensors: dict from input name to tensor, with the names of
            `describe_model_inputs`.

    Returns:
        One tensor, or a structure of tensors, to call the model on.
    """
    if getattr(model, "inputs", None) is None:
        takes_dict = isinstance(_build_shapes(model), dict)
        return dict(tensors) if takes_dict else next(iter(tensors.values()))
    if isinstance(model, keras.Sequential):
        # By position: a Sequential may name its input anew when it is loaded.
        return next(iter(tensors.values()))
    ordered = [tensors[name] for name in _input_names(model, model.inputs)]
    return keras.tree.pack_sequence_as(model.input, ordered)


def _input_names(model, own_inputs):
    """Name each input after its `keras.Input`, stable across processes."""
    # A `keras.Input` without a name gets a tensor name counted up over the
    # whole process; the name of its layer is the one that a file keeps.
    layer_names = {
        id(layer.output): layer.name
        for layer in model.layers
        if isinstance(layer, keras.layers.InputLayer)
    }
    names = [layer_names.get(id(x), x.name) for x in own_inputs]
    if isinstance(model, keras.Sequential):
        # A Sequential hides its input layer.
        if names[0].startswith("keras_tensor"):
            names = ["inputs"]
    return names


def _build_shapes(model):
    """Return the shapes a subclassed model was built with, or None."""
    config = model.get_build_config() or {}
    return config.get("input_shape")


def _describe_from_signature(model, input_signature):
    """Describe a subclassed model, which keeps shapes but no dtypes."""
    shapes = _build_shapes(model)
    if input_signature is None:
        name = next(iter(shapes)) if isinstance(shapes, dict) else "inputs"
        raise ValueError(
            "Expected an input_signature for a subclassed model, which does "
            "not record the dtypes of its inputs. "
            f"Received: input_signature=None for model={model.name!r} built "
            f"on shapes {shapes}. Pass for example input_signature="
            f'{{"{name}": keras.InputSpec(shape=(None, None), '
            'dtype="int32")}.'
        )
    if not isinstance(input_signature, dict):
        name = getattr(input_signature, "name", None) or "inputs"
        input_signature = {name: input_signature}
    names = sorted(shapes) if isinstance(shapes, dict) else None
    if names is not None and sorted(input_signature) != names:
        raise ValueError(
            f"Expected an input_signature for the inputs {names}. "
            f"Received: input_signature for {sorted(input_signature)}. "
            "Name every input that the model was built on, and no other."
        )
    if names is None and len(input_signature) > 1:
        raise ValueError(
            "Expected an input_signature for one input, as the model was "
            f"built on one tensor. Received: input_signature for "
            f"{sorted(input_signature)}. Let the model's call take its "
            "inputs as one dict."
        )
    return tuple(
        ModelInput(name, *read_spec(name, spec))
        for name, spec in input_signature.items()
    )


def _apply_signature(described, input_signature):
    """Replace the descriptions of the inputs that the signature names."""
    if not isinstance(input_signature, dict):
        if len(described) > 1:
            raise ValueError(
                "Expected input_signature to be a dict from input name to "
                f"spec. Received: input_signature={input_signature!r} for a "
                f"model with the inputs {[x.name for x in described]}. "
                "Write one entry for each input to change."
            )
        input_signature = {described[0].name: input_signature}
    unknown = sorted(set(input_signature) - {x.name for x in described})
    if unknown:
        raise ValueError(
            "Expected the names in input_signature to be among "
            f"{[x.name for x in described]}. Received: {unknown}. "
            "Use the names of the model's keras.Input objects."
        )
    return tuple(
        _replace(x, input_signature[x.name]) if x.name in input_signature else x
        for x in described
    )


def _replace(described, spec):
    """Return the spec as a description, if the model can take it."""
    shape, dtype = read_spec(described.name, spec, described.dtype)
    fits = len(shape) == len(described.shape) and all(
        size is None or size == asked
        for size, asked in zip(described.shape[1:], shape[1:], strict=True)
    )
    if not fits:
        raise ValueError(
            f"Expected the shape of input {described.name!r} to fit the "
            f"model's {described.shape}. Received: shape={shape}. "
            "Only sizes that are None in the model can be chosen."
        )
    return ModelInput(described.name, shape, dtype)


def read_spec(name, spec, default_dtype=None, smallest_rank=1):
    """Read the shape and the dtype that a spec states.

    Args:
        name: string, of the input.
        spec: an object with `shape` and `dtype`, such as `keras.InputSpec`.
        default_dtype: optional string, for a spec without a dtype.
        smallest_rank: int, of the shape.

    Returns:
        A tuple of sizes, `None` for open ones, and the dtype as a string.

    Raises:
        ValueError: if one of them is missing.
    """
    shape = getattr(spec, "shape", None)
    dtype = getattr(spec, "dtype", None) or default_dtype
    if shape is None or len(shape) < smallest_rank or dtype is None:
        raise ValueError(
            f"Expected the signature of input {name!r} to state a shape of "
            f"rank {smallest_rank} or more, and a dtype. Received: {spec!r}. "
            "Write None for each size to leave open, as in "
            'keras.InputSpec(shape=(None, None), dtype="int32").'
        )
    return tuple(shape), keras.backend.standardize_dtype(dtype)
