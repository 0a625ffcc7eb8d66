"""Describe further functions that a SavedModel answers with."""

import importlib
import inspect
import sys
from typing import NamedTuple

from keras_moe.export.model_inputs import ModelInput
from keras_moe.export.model_inputs import read_spec
from keras_moe.export.optional_inputs import with_defaults
from keras_moe.export.signatures.signatures_of import signatures_of

# What a SavedModel has anyway.
TAKEN = frozenset(
    {
        "model_variables",
        "non_trainable_variables",
        "serve",
        "serving_default",
        "signatures",
        "trainable_variables",
        "variables",
    }
)
EXAMPLE = (
    '{"score": (score, {"token_ids": keras.InputSpec(shape=(None, None), '
    'dtype="int32")})}'
)


class Endpoint(NamedTuple):
    """A function of a model, as another process finds it.

    Attributes:
        name: str, of the signature.
        module: str, the module of the function; `None` for a method.
        function: str, the name of the function or of the model's method.
        inputs: tuple of `ModelInput`.
    """

    name: str
    module: str | None
    function: str
    inputs: tuple


def describe_endpoints(model, endpoints):
    """Describe endpoints, and check that another process can find them.

    Args:
        model: a `keras.Model`.
        endpoints: `None`, or a dict as `export_saved_model` takes it.

    Returns:
        A tuple of `Endpoint`.

    Raises:
        ValueError: if a name is taken, a function cannot be found by another
            process or does not take the inputs, or a signature lacks a dtype.
    """
    if endpoints is not None and not isinstance(endpoints, dict):
        raise ValueError(
            "Expected endpoints to be a dict from name to a pair of function "
            f"and signature. Received: endpoints={endpoints!r}. "
            f"Write for example {EXAMPLE}."
        )
    return tuple(
        _describe(model, name, endpoint)
        for name, endpoint in (endpoints or {}).items()
    )


def describe_signatures(model, signatures):
    """Describe the package's own signatures that a model can answer.

    Args:
        model: a `keras.Model`.
        signatures: `"all"`, or a sequence of names as `export_saved_model`
            takes it.

    Returns:
        A tuple of `Endpoint`, without `serving_default`.

    Raises:
        ValueError: if the model does not have one of them.
    """
    known = signatures_of(model)
    names = [*known] if signatures == "all" else signatures
    if isinstance(names, str) or not {*names} <= {*known, "serving_default"}:
        raise ValueError(
            'Expected signatures to be "all", or names among '
            f"{sorted({*known, 'serving_default'})}, which this model has. "
            f"Received: signatures={signatures!r}. Pass () for "
            "serving_default alone."
        )
    return tuple(
        Endpoint(
            name,
            known[name].function.__module__,
            known[name].function.__name__,
            tuple(known[name].inputs),
        )
        for name in known
        if name in names
    )


def find_function(model, endpoint):
    """Find the function of an endpoint.

    Args:
        model: a `keras.Model`.
        endpoint: an `Endpoint`.

    Returns:
        A function from a dict of tensors to tensors.
    """
    if endpoint.module is None:
        method = getattr(model, endpoint.function)
        return lambda tensors: method(**tensors)
    function = getattr(
        importlib.import_module(endpoint.module), endpoint.function
    )
    return lambda tensors: function(model, tensors)


def _describe(model, name, endpoint):
    if not isinstance(name, str) or not name.isidentifier() or name in TAKEN:
        raise ValueError(
            "Expected the name of an endpoint to be an identifier other than "
            f"{sorted(TAKEN)}. Received: {name!r}. Choose another name."
        )
    if not isinstance(endpoint, (tuple, list)) or len(endpoint) not in (2, 3):
        raise ValueError(
            f"Expected endpoint {name!r} to be a pair of function and "
            "signature, or these and a dict of defaults. Received: "
            f"{endpoint!r}. Write for example {EXAMPLE}."
        )
    function, signature, *defaults = endpoint
    if not isinstance(signature, dict) or not signature:
        raise ValueError(
            f"Expected the signature of endpoint {name!r} to be a dict from "
            f"input name to keras.InputSpec. Received: {signature!r}. "
            f"Write for example {EXAMPLE}."
        )
    inputs = tuple(
        ModelInput(each, *read_spec(each, spec, smallest_rank=0))
        for each, spec in signature.items()
    )
    if defaults:
        inputs = with_defaults(inputs, *defaults)
    if isinstance(function, str):
        _check_method(model, name, function, signature)
        return Endpoint(name, None, function, inputs)
    _check_importable(name, function)
    return Endpoint(name, function.__module__, function.__name__, inputs)


def _check_method(model, name, function, signature):
    method = getattr(model, function, None)
    if not callable(method):
        raise ValueError(
            f"Expected the function of endpoint {name!r} to be the name of a "
            f"method of {type(model).__name__}. Received: {function!r}. Pass "
            "the function itself if it is one of a module."
        )
    try:
        inspect.signature(method).bind(**signature)
    except TypeError as error:
        raise ValueError(
            f"Expected a signature that names the arguments of {function}. "
            f"Received: {sorted(signature)} ({error}). Wrap the method in a "
            "function of model and dict of tensors."
        ) from error


def _check_importable(name, function):
    module = getattr(function, "__module__", None) or ""
    own_name = getattr(function, "__name__", "")
    found = getattr(sys.modules.get(module), own_name, None)
    if module == "__main__" or found is None or found is not function:
        raise ValueError(
            f"Expected the function of endpoint {name!r} to be at the top "
            "level of a module that another process can import. Received: "
            f"{function!r} of module {module!r}. Define it with `def` in a "
            "module of its own, such as endpoints.py next to the script, and "
            "import it from there."
        )
