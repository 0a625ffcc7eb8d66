"""The bearer token, for HTTP and gRPC."""

import hmac
import os
import pathlib

import grpc

from keras_moe.serving.errors import ServingError
from keras_moe.serving.rest import error_response

VARIABLE = "KERAS_MOE_SERVE_TOKEN"
REFUSAL = (
    "Expected the server's token: send the header "
    "`Authorization: Bearer TOKEN`."
)


def read_token(file=None):
    """Read the token that clients must send.

    Args:
        file: optional path; default: the environment's
            `KERAS_MOE_SERVE_TOKEN`.

    Returns:
        string, or `None` if the server is open.

    Raises:
        ValueError: If the token is empty or not ASCII.
    """
    if file is None and VARIABLE not in os.environ:
        return None
    if file is None:
        token, source = os.environ[VARIABLE], VARIABLE
    else:
        token, source = pathlib.Path(file).read_text("utf-8"), str(file)
    token = token.strip()
    if not token or not token.isascii() or not token.isprintable():
        raise ValueError(
            "Expected a token of printable ASCII characters. Received: "
            f"{source} without one. Write for example the output of "
            "`openssl rand -hex 32`."
        )
    return token


def is_authorized(header, token):
    """Return whether a header carries the token.

    Args:
        header: bytes or string, what follows `Authorization:`.
        token: string, or `None` if the server is open.
    """
    if token is None:
        return True
    if isinstance(header, str):
        header = header.encode("utf-8", "replace")
    scheme, _, credentials = header.partition(b" ")
    # Takes as long however much of it is right.
    same = hmac.compare_digest(credentials.strip(), token.encode())
    return same and scheme.lower() == b"bearer"


class TokenGate:
    """Middleware that refuses HTTP requests without the token.

    The page itself and the health checks hold no secret and stay open.

    Args:
        app: ASGI application.
        token: string, or `None` if the server is open.
    """

    def __init__(self, app, token):
        self._app = app
        self._token = token

    async def __call__(self, scope, receive, send):
        """Pass a request on, or refuse it."""
        header = dict(scope.get("headers", ())).get(b"authorization", b"")
        guarded = scope["type"] == "http" and scope["path"].startswith(
            ("/v1", "/metrics")
        )
        app = self._app
        if guarded and not is_authorized(header, self._token):
            app = error_response(ServingError("UNAUTHENTICATED", REFUSAL))
        await app(scope, receive, send)


class TokenInterceptor(grpc.aio.ServerInterceptor):
    """Refuses gRPC calls without the token.

    Args:
        token: string, or `None` if the server is open.
    """

    def __init__(self, token):
        self._token = token

    async def intercept_service(self, continuation, handler_call_details):
        """Pass a call on, or answer it with a refusal."""
        sent = dict(handler_call_details.invocation_metadata or ())
        if is_authorized(sent.get("authorization", ""), self._token):
            return await continuation(handler_call_details)
        return grpc.unary_unary_rpc_method_handler(_refuse)


async def _refuse(request, context):
    await context.abort(grpc.StatusCode.UNAUTHENTICATED, REFUSAL)
