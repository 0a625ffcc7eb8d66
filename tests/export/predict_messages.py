"""PredictRequests and PredictResponses, as bytes that a server exchanges."""

import tensorflow as tf
from tensorflow.core.framework.tensor_pb2 import TensorProto

from keras_moe.export.predict_log import predict_request


def encode_request(signature, inputs, dtype=None):
    """Serialize a request of arrays behind its length."""
    tensors = {
        name: tf.make_tensor_proto(value, dtype).SerializeToString()
        for name, value in inputs.items()
    }
    request = predict_request(signature, tensors)
    return varint(len(request)) + request


def varint(value):
    """Encode an integer by hand: seven bits a byte, the lowest first."""
    encoded = b""
    while value >= 128:
        encoded += bytes([value % 128 + 128])
        value //= 128
    return encoded + bytes([value])


def decode_answers(answers):
    """Read answers: a dict of arrays, or the line of an error, for each."""
    decoded = []
    while answers:
        line, _, answers = answers.partition(b"\n")
        if not line.startswith(b"OK "):
            decoded.append(line.decode())
            continue
        size = int(line.removeprefix(b"OK "))
        decoded.append(_decode_response(answers[:size]))
        answers = answers[size:]
    return decoded


def fields(message):
    """List (number, bytes) of a message that has only fields of bytes."""
    found = []
    position = 0

    def read():
        nonlocal position
        value = shift = 0
        while True:
            byte = message[position]
            position += 1
            value += (byte % 128) << shift
            shift += 7
            if byte < 128:
                return value

    while position < len(message):
        tag, size = read(), read()
        assert tag % 8 == 2
        found.append((tag // 8, message[position : position + size]))
        position += size
    return found


def _decode_response(response):
    outputs = {}
    for number, entry in fields(response):
        assert number == 1
        named = dict(fields(entry))
        tensor = TensorProto.FromString(named[2])
        outputs[named[1].decode()] = tf.make_ndarray(tensor)
    return outputs
