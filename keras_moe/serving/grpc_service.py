"""TensorFlow Serving's gRPC services, with its own messages."""

import contextlib

import grpc
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import classification_pb2
from tensorflow_serving.apis import model_service_pb2_grpc
from tensorflow_serving.apis import predict_pb2
from tensorflow_serving.apis import prediction_service_pb2_grpc
from tensorflow_serving.apis import regression_pb2

from keras_moe.serving import classify
from keras_moe.serving import protos
from keras_moe.serving.errors import ServingError
from keras_moe.serving.errors import invalid
from keras_moe.serving.predictor import Deadline
from keras_moe.serving.request_rules import find_signature


class StatusInterceptor(grpc.aio.ServerInterceptor):
    """Turns our errors, and messages that are none, into a gRPC status."""

    async def intercept_service(self, continuation, handler_call_details):
        """Wrap the method that answers a call."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None

        async def answer(content, context):
            try:
                request = handler.request_deserializer(content)
                return await handler.unary_unary(request, context)
            except ServingError as error:
                code, reason = grpc.StatusCode[error.code], error.message
            except DecodeError as error:
                code, reason = grpc.StatusCode.INVALID_ARGUMENT, str(error)
            except NotImplementedError:
                code, reason = grpc.StatusCode.UNIMPLEMENTED, "Not here."
            return await context.abort(code, reason)

        return grpc.unary_unary_rpc_method_handler(
            answer, response_serializer=handler.response_serializer
        )


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict, Classify, Regress and GetModelMetadata.

    Args:
        versions: `ModelVersions`.
        predictor: `Predictor`.
        metrics: `Metrics`.
    """

    def __init__(self, versions, predictor, metrics):
        self._versions = versions
        self._predictor = predictor
        self._metrics = metrics

    async def Predict(self, request, context):
        """Answer a request with the tensors of a signature."""
        with self._signature(request) as (model, signature):
            wanted = _wanted_outputs(request.output_filter, signature)
            max_bytes = self._predictor.limits.max_body_bytes
            arrays = {
                name: protos.read_tensor(name, tensor, max_bytes)
                for name, tensor in request.inputs.items()
            }
            outputs = await self._predict(model, signature, arrays, context)
            response = predict_pb2.PredictResponse()
            _fill_spec(response.model_spec, request, model, signature)
            for name in wanted:
                response.outputs[name].CopyFrom(
                    tf.make_tensor_proto(
                        outputs[name], signature.outputs[name].dtype
                    )
                )
            return response

    async def Classify(self, request, context):
        """Give each example a score for each class."""
        response = classification_pb2.ClassificationResponse()
        for row in await self._run_examples(
            request, response, context, classify.CLASSIFY, classify.read_scores
        ):
            classes = response.result.classifications.add().classes
            for label, score in row:
                classes.add(label=label, score=score)
        return response

    async def Regress(self, request, context):
        """Give each example a value."""
        response = regression_pb2.RegressionResponse()
        for value in await self._run_examples(
            request, response, context, classify.REGRESS, classify.read_values
        ):
            response.result.regressions.add(value=value)
        return response

    async def GetModelMetadata(self, request, context):
        """Describe the signatures."""
        if [*request.metadata_field] != ["signature_def"]:
            raise invalid(
                "Expected metadata_field to be signature_def. Received: "
                f"{[*request.metadata_field]}."
            )
        spec = request.model_spec
        with self._versions.lease(spec.name, _version(spec)) as model:
            return protos.model_metadata(spec.name, model)

    @contextlib.contextmanager
    def _signature(self, request):
        """Find what a request asks for, and count it."""
        spec = request.model_spec
        with (
            self._metrics.observe("grpc") as observation,
            self._versions.lease(spec.name, _version(spec)) as model,
        ):
            signature = find_signature(model, spec.signature_name)
            observation.signature = signature.name
            yield model, signature

    async def _predict(self, model, signature, arrays, context):
        seconds = self._predictor.limits.request_seconds
        asked = context.time_remaining()
        deadline = Deadline(seconds if asked is None else min(asked, seconds))
        return await self._predictor.predict(model, signature, arrays, deadline)

    async def _run_examples(self, request, response, context, method, read):
        with self._signature(request) as (model, signature):
            classify.check_fits(model, signature, method)
            arrays = classify.stack_examples(
                _read_examples(request.input), signature
            )
            outputs = await self._predict(model, signature, arrays, context)
            _fill_spec(response.model_spec, request, model, signature)
            return read(outputs)


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """GetModelStatus.

    Args:
        versions: `ModelVersions`.
    """

    def __init__(self, versions):
        self._versions = versions

    async def GetModelStatus(self, request, context):
        """Tell what has become of the versions."""
        spec = request.model_spec
        return protos.model_status(
            self._versions.status(spec.name, _version(spec))
        )


def _version(spec):
    """Return the version that a request asks for, None for the newest."""
    if spec.WhichOneof("version_choice") == "version_label":
        raise invalid(
            "Expected a version by number. Received: "
            f"version_label={spec.version_label!r}. Labels are not supported."
        )
    return spec.version.value if spec.HasField("version") else None


def _fill_spec(spec, request, model, signature):
    spec.name = request.model_spec.name
    spec.version.value = model.version
    spec.signature_name = signature.name


def _wanted_outputs(names, signature):
    unknown = sorted(set(names) - set(signature.outputs))
    if unknown or len(set(names)) < len(names):
        raise invalid(
            "Expected output_filter to name outputs of "
            f"{sorted(signature.outputs)}, each once. Received: {[*names]}."
        )
    return [*names] or [*signature.outputs]


def _read_examples(message):
    """List the examples of a request, each a dict of lists."""
    if message.HasField("example_list_with_context"):
        shared = message.example_list_with_context.context
        examples = message.example_list_with_context.examples
    else:
        shared, examples = None, message.example_list.examples
    context = {} if shared is None else _read_features(shared)
    return [{**context, **_read_features(each)} for each in examples]


def _read_features(example):
    return {
        name: [*getattr(feature, kind).value]
        for name, feature in example.features.feature.items()
        if (kind := feature.WhichOneof("kind"))
    }
