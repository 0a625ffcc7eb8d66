"""TensorFlow Serving's REST interface, and our stream and description."""

import asyncio
import contextlib
import re

from google.protobuf import json_format
from starlette.responses import JSONResponse
from starlette.responses import Response
from starlette.responses import StreamingResponse

from keras_moe.serving import classify
from keras_moe.serving import protos
from keras_moe.serving import rest_json
from keras_moe.serving.errors import ServingError
from keras_moe.serving.errors import invalid
from keras_moe.serving.predictor import Deadline
from keras_moe.serving.request_body import read_body
from keras_moe.serving.request_body import unless_disconnected
from keras_moe.serving.request_rules import find_signature
from keras_moe.serving.stream import format_event
from keras_moe.serving.stream import stream_events

PATH = re.compile(
    r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>\d{1,18}))?"
    r"(?P<verb>/metadata|:[a-z]+)?"
)


class RestApi:
    """Answers requests below `/v1/models`.

    Args:
        versions: `ModelVersions`.
        predictor: `Predictor`.
        metrics: `Metrics`.
    """

    def __init__(self, versions, predictor, metrics):
        self._versions = versions
        self._predictor = predictor
        self._metrics = metrics
        self._verbs = {
            ("GET", None): self._status,
            ("GET", "/metadata"): self._metadata,
            ("GET", ":describe"): self._describe,
            ("POST", ":predict"): self._predict,
            ("POST", ":classify"): self._classify,
            ("POST", ":regress"): self._regress,
            ("POST", ":stream"): self._stream,
        }

    async def answer(self, request):
        """Answer one request, errors included.

        Args:
            request: `starlette.requests.Request`.

        Returns:
            A `starlette.responses.Response`.
        """
        try:
            path = PATH.fullmatch(request.scope["path"])
            key = (request.method, path and path["verb"])
            if path is None or key not in self._verbs:
                raise invalid(
                    f"Malformed request: {request.method} "
                    f"{request.scope['path']}"
                )
            version = path["version"] and int(path["version"])
            return await self._verbs[key](request, path["name"], version)
        except ServingError as error:
            return error_response(error)

    async def _status(self, request, name, version):
        status = protos.model_status(self._versions.status(name, version))
        return _from_proto(status)

    async def _metadata(self, request, name, version):
        with self._versions.lease(name, version) as model:
            return _from_proto(protos.model_metadata(name, model))

    async def _describe(self, request, name, version):
        with self._versions.lease(name, version) as model:
            return JSONResponse(model.description.content)

    async def _predict(self, request, name, version):
        async def run(model, signature, content):
            outputs = await self._predictor.predict(
                model,
                signature,
                rest_json.read_inputs(content, signature),
                self._deadline(),
            )
            # Logits of a long text are megabytes: not in the event loop.
            return await asyncio.to_thread(
                rest_json.write_outputs, outputs, "instances" in content
            )

        return await self._run(request, name, version, run)

    async def _classify(self, request, name, version):
        return await self._run_examples(
            request, name, version, classify.CLASSIFY, classify.read_scores
        )

    async def _regress(self, request, name, version):
        return await self._run_examples(
            request, name, version, classify.REGRESS, classify.read_values
        )

    async def _run_examples(self, request, name, version, method, read):
        async def run(model, signature, content):
            classify.check_fits(model, signature, method)
            examples = rest_json.read_examples(content)
            outputs = await self._predictor.predict(
                model,
                signature,
                classify.stack_examples(examples, signature),
                self._deadline(),
            )
            return rest_json.dump({"results": read(outputs)})

        return await self._run(request, name, version, run)

    async def _run(self, request, name, version, run):
        """Read a body, find its signature, and answer with JSON."""
        with (
            self._metrics.observe("rest") as observation,
            self._versions.lease(name, version) as model,
        ):
            content = await self._read_object(request)
            signature = find_signature(
                model, rest_json.read_signature_name(content)
            )
            observation.signature = signature.name
            body = await unless_disconnected(
                request, run(model, signature, content)
            )
            return Response(body, media_type="application/json")

    async def _stream(self, request, name, version):
        content = await self._read_object(request)
        events = self._events(content, name, version)
        # The first piece comes before the status: a refusal has its own code.
        first = await unless_disconnected(request, anext(events))
        return StreamingResponse(
            _write_events(first, events),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    async def _events(self, content, name, version):
        """Yield the events of a stream, holding the version meanwhile."""
        with (
            self._metrics.observe("stream") as observation,
            self._versions.lease(name, version) as model,
        ):
            observation.signature = "generate"
            async with contextlib.aclosing(
                stream_events(self._predictor, model, content, self._deadline())
            ) as events:
                async for event in events:
                    yield event

    async def _read_object(self, request):
        limits = self._predictor.limits
        body = await read_body(
            request, limits.max_body_bytes, limits.read_seconds
        )
        return rest_json.parse_object(body)

    def _deadline(self):
        return Deadline(self._predictor.limits.request_seconds)


def error_response(error):
    """Write an error as TensorFlow Serving does.

    Args:
        error: `ServingError`.

    Returns:
        A `starlette.responses.Response`.
    """
    # The rest of a body that nobody reads must not come as a next request.
    headers = {"Connection": "close"} if error.http_code in (408, 413) else {}
    if error.http_code == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse({"error": error.message}, error.http_code, headers)


async def _write_events(first, events):
    async with contextlib.aclosing(events):
        yield format_event(*first)
        try:
            async for event in events:
                yield format_event(*event)
        except ServingError as error:
            yield format_event("error", {"error": error.message})


def _from_proto(message):
    return JSONResponse(
        json_format.MessageToDict(
            message,
            preserving_proto_field_name=True,
            always_print_fields_with_no_presence=True,
        )
    )
