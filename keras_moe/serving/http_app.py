"""What the HTTP server answers: REST, health, metrics, the page."""

import pathlib

import prometheus_client
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.routing import Mount
from starlette.routing import Route
from starlette.staticfiles import StaticFiles

from keras_moe.serving.access import TokenGate

PAGE = pathlib.Path(__file__).with_name("page")
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; "
    "style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


class Page(StaticFiles):
    """The page in the browser, which may load nothing from elsewhere."""

    async def get_response(self, path, scope):
        """Answer with a file of the page."""
        response = await super().get_response(path, scope)
        response.headers.update(PAGE_HEADERS)
        return response


def make_app(api, name, is_ready, metrics, token):
    """Make the ASGI application.

    Args:
        api: `RestApi`.
        name: string, the model's name.
        is_ready: function that returns whether requests are welcome.
        metrics: `Metrics`.
        token: string that clients must send, or `None`.

    Returns:
        ASGI application.
    """

    async def healthz(request):
        return Response("ok\n", media_type="text/plain")

    async def readyz(request):
        ready = is_ready()
        return Response(
            "ready\n" if ready else "stopping\n",
            200 if ready else 503,
            media_type="text/plain",
        )

    async def show_metrics(request):
        return Response(
            prometheus_client.generate_latest(metrics.registry),
            media_type=prometheus_client.CONTENT_TYPE_LATEST,
        )

    async def models(request):
        return JSONResponse({"models": [name]})

    routes: list[BaseRoute] = [
        Route("/healthz", healthz),
        Route("/readyz", readyz),
        Route("/metrics", show_metrics),
        Route("/v1/models", models),
        Route("/v1/{path:path}", api.answer, methods=METHODS),
    ]
    if PAGE.is_dir():
        routes.append(Mount("/", Page(directory=PAGE, html=True)))
    app = Starlette(
        routes=routes,
        exception_handlers={HTTPException: _explain, Exception: _fail},
    )
    return TokenGate(app, token)


async def _explain(request, error):
    return JSONResponse({"error": error.detail}, error.status_code)


async def _fail(request, error):
    return JSONResponse({"error": "The server failed on this request."}, 500)
