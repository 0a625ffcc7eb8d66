"""TensorFlow Serving's messages about a model, and tensors in messages."""

import math

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import get_model_metadata_pb2
from tensorflow_serving.apis import get_model_status_pb2

from keras_moe.serving.errors import invalid

OK = 0
UNKNOWN = 2


def model_status(statuses):
    """Write what has become of the versions.

    Args:
        statuses: list of `VersionStatus`.

    Returns:
        A `GetModelStatusResponse`.
    """
    response = get_model_status_pb2.GetModelStatusResponse()
    states = get_model_status_pb2.ModelVersionStatus.State
    for status in statuses:
        entry = response.model_version_status.add()
        entry.version = status.version
        entry.state = states.Value(status.state)
        entry.status.error_code = UNKNOWN if status.error else OK
        entry.status.error_message = status.error
    return response


def model_metadata(name, model):
    """Write the signatures of a model.

    Args:
        name: string.
        model: `LoadedModel`.

    Returns:
        A `GetModelMetadataResponse`.
    """
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    response.model_spec.name = name
    response.model_spec.version.value = model.version
    signatures = get_model_metadata_pb2.SignatureDefMap()
    for signature in model.signatures.values():
        signatures.signature_def[signature.name].CopyFrom(signature.proto)
    response.metadata["signature_def"].Pack(signatures)
    return response


def read_tensor(name, proto, max_bytes):
    """Read a tensor of a request.

    Args:
        name: string, for errors.
        proto: `TensorProto`.
        max_bytes: int; a small message may ask for a large tensor, as one
            value stands for any number of equal ones.

    Returns:
        array.

    Raises:
        ServingError: If the message is no tensor, or too large a one.
    """
    sizes = [size.size for size in proto.tensor_shape.dim]
    try:
        dtype = tf.dtypes.as_dtype(proto.dtype)
        if dtype in (tf.resource, tf.variant) or dtype.name.endswith("_ref"):
            raise TypeError(dtype.name)
    except TypeError as error:
        raise invalid(
            f"Expected {name!r} to be numbers or strings. Received: dtype "
            f"{proto.dtype}."
        ) from error
    if (
        proto.tensor_shape.unknown_rank
        or min(sizes, default=0) < 0
        or math.prod(sizes) * dtype.size > max_bytes
        or len(sizes) > 32
    ):
        raise invalid(
            f"Expected {name!r} of a known shape and at most {max_bytes} "
            f"bytes. Received: shape {sizes[:32]}."
        )
    try:
        return np.asarray(tf.make_ndarray(proto))
    except (TypeError, ValueError) as error:
        raise invalid(
            f"Expected {name!r} to hold the values of its shape {sizes}. "
            f"Received: {' '.join(str(error).split())[:200]}."
        ) from error
