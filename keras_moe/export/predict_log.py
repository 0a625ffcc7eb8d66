"""The requests that TensorFlow Serving replays to warm a version up.

A record is a `PredictionLog` of TensorFlow Serving's API. Its few fields are
written here, so that an export does not need `tensorflow-serving-api`.
"""

WARM_UP_FILE = "tf_serving_warmup_requests"


def predict_request(signature, inputs):
    """Serialize a `PredictRequest`.

    Args:
        signature: string, the name of the signature.
        inputs: dict from input name to a serialized `TensorProto`, bytes.

    Returns:
        bytes.

    References:
        tensorflow_serving/apis/predict.proto and model.proto,
        https://github.com/tensorflow/serving.
    """
    # PredictRequest: model_spec = 1, map<string, TensorProto> inputs = 2.
    # ModelSpec: signature_name = 3.
    entries = [
        _field(2, _field(1, name.encode()) + _field(2, tensor))
        for name, tensor in inputs.items()
    ]
    return _field(1, _field(3, signature.encode())) + b"".join(entries)


def prediction_log(request):
    """Serialize a `PredictionLog` of one request.

    Args:
        request: bytes, a serialized `PredictRequest`.

    Returns:
        bytes.

    References:
        tensorflow_serving/apis/prediction_log.proto,
        https://github.com/tensorflow/serving.
    """
    # PredictionLog: predict_log = 6. PredictLog: request = 1.
    return _field(6, _field(1, request))


def _field(number, payload):
    """Write a field of bytes as Protocol Buffers do."""
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def _varint(value):
    """Write an integer in groups of seven bits, the lowest first."""
    groups = []
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])
