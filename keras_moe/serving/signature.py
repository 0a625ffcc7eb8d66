"""The signatures of a SavedModel: names, dtypes, shapes, defaults."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

INIT_OP = "__saved_model_init_op"


class TensorInfo(NamedTuple):
    """What one tensor of a signature looks like.

    Attributes:
        dtype: `tf.DType`.
        shape: tuple of ints and `None`s for open sizes; `None` for any rank.
    """

    dtype: tf.DType
    shape: tuple | None


class Signature(NamedTuple):
    """One function of a SavedModel.

    Attributes:
        name: string.
        inputs: dict from name to `TensorInfo`.
        outputs: dict from name to `TensorInfo`.
        defaults: dict from input name to array, for inputs that may be left
            out.
        proto: the `SignatureDef`, as clients ask for it.
    """

    name: str
    inputs: dict
    outputs: dict
    defaults: dict
    proto: object

    @property
    def required(self):
        """List the inputs that a request has to bring."""
        return [name for name in self.inputs if name not in self.defaults]


def read_signatures(folder):
    """Read the signatures of a SavedModel.

    From `saved_model.pb`: what `tf.saved_model.load` returns has no defaults.

    Args:
        folder: `pathlib.Path` of the version.

    Returns:
        dict from name to `Signature`.

    Raises:
        ValueError: If the file is no SavedModel for serving.
    """
    saved_model = saved_model_pb2.SavedModel()
    saved_model.ParseFromString((folder / "saved_model.pb").read_bytes())
    for graph in saved_model.meta_graphs:
        if "serve" in graph.meta_info_def.tags:
            return {
                name: _read(name, proto)
                for name, proto in sorted(graph.signature_def.items())
                if name != INIT_OP
            }
    raise ValueError(
        'Expected a SavedModel with the tag "serve". Received: '
        f"{folder}. Write one with keras_moe.export.export_saved_model."
    )


def _read(name, proto):
    return Signature(
        name=name,
        inputs={key: _info(proto.inputs[key]) for key in sorted(proto.inputs)},
        outputs={
            key: _info(proto.outputs[key]) for key in sorted(proto.outputs)
        },
        defaults={
            key: np.asarray(tf.make_ndarray(value))
            for key, value in proto.defaults.items()
        },
        proto=proto,
    )


def _info(proto):
    shape = proto.tensor_shape
    return TensorInfo(
        dtype=tf.dtypes.as_dtype(proto.dtype),
        shape=None
        if shape.unknown_rank
        else tuple(None if x.size < 0 else x.size for x in shape.dim),
    )
