"""Requests that a server replays before a version takes others."""

import pathlib

import numpy as np

from keras_moe.export.predict_log import WARM_UP_FILE
from keras_moe.export.predict_log import predict_request
from keras_moe.export.predict_log import prediction_log
from keras_moe.export.request_samples import RequestInput
from keras_moe.export.request_samples import draw_requests

# Batch size and length, and one more size for inputs of higher rank.
SIZES = (1, 8, 8, 8)


def write_warm_up(folder, signatures, integer_bound):
    """Write one request for each signature into a SavedModel.

    Signatures of inputs that cannot be drawn get none.

    Args:
        folder: path of the SavedModel.
        signatures: dict from signature name to list of `ModelInput`.
        integer_bound: int, the number that integers stay below.
    """
    import tensorflow as tf

    file = pathlib.Path(folder) / "assets.extra" / WARM_UP_FILE
    file.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(file)) as writer:
        for name, inputs in signatures.items():
            try:
                [request] = draw_requests(
                    [_describe(x) for x in inputs], [SIZES], integer_bound, 0
                )
            except ValueError:
                continue
            tensors = {
                key: tf.make_tensor_proto(array).SerializeToString()
                for key, array in request.items()
            }
            writer.write(prediction_log(predict_request(name, tensors)))


def _describe(model_input):
    import tensorflow as tf

    dtype = tf.dtypes.as_dtype(model_input.dtype).as_numpy_dtype
    return RequestInput(
        model_input.name,
        model_input.shape,
        np.dtype(dtype),
        model_input.default is not None,
    )
