"""The bytes of warm-up requests, and the file that servers replay."""

import pytest

from keras_moe.export.predict_log import predict_request
from keras_moe.export.predict_log import prediction_log

# Bytes, and TensorFlow's own types of them.
pytestmark = pytest.mark.once


def test_a_request_is_written_as_protocol_buffers_are():
    # By hand: field 1 (model_spec) of 5 bytes, in it field 3 of 3 bytes; field
    # 2 (an entry of the map) of 7 bytes: key "x", value of 2 bytes.
    request = predict_request("abc", {"x": b"\x08\x03"})
    assert request == (
        b"\x0a\x05\x1a\x03abc"
        + b"\x12\x07"
        + b"\x0a\x01x"
        + b"\x12\x02\x08\x03"
    )
    # Field 6 (predict_log), in it field 1 (request).
    log = prediction_log(request)
    assert log == b"\x32\x12\x0a\x10" + request


def test_lengths_above_127_take_two_bytes():
    request = predict_request("", {"x": b"\0" * 300})
    # 300 = 0b10_0101100.
    assert b"\x12\xac\x02" + b"\0" * 300 in request


def test_the_official_messages_read_it():
    apis = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
    tf = pytest.importorskip("tensorflow")
    tensor = tf.make_tensor_proto([[1, 2]], tf.int32)
    log = apis.PredictionLog.FromString(
        prediction_log(
            predict_request("generate", {"x": tensor.SerializeToString()})
        )
    )
    request = log.predict_log.request
    assert request.model_spec.signature_name == "generate"
    assert tf.make_ndarray(request.inputs["x"]).tolist() == [[1, 2]]
