"""The server: a model, a queue, and both protocols around them."""

import asyncio
import contextlib
import math
import pathlib
import signal
import socket

import grpc
import uvicorn
from tensorflow_serving.apis import model_service_pb2_grpc
from tensorflow_serving.apis import prediction_service_pb2_grpc

from keras_moe.serving.access import TokenInterceptor
from keras_moe.serving.batcher import Batcher
from keras_moe.serving.grpc_service import ModelService
from keras_moe.serving.grpc_service import PredictionService
from keras_moe.serving.grpc_service import StatusInterceptor
from keras_moe.serving.http_app import make_app
from keras_moe.serving.limits import Limits
from keras_moe.serving.metrics import Metrics
from keras_moe.serving.model_versions import ModelVersions
from keras_moe.serving.predictor import Predictor
from keras_moe.serving.rest import RestApi
from keras_moe.serving.slow_clients import impatient_protocol

LOOPBACK = "127.0.0.1"


class Server:
    """Serves the newest version of a folder over HTTP and gRPC.

    The model is loaded and the ports are bound when the server is made; it
    answers while `run` runs.

    Args:
        path: path of the folder that holds the numbered versions.
        name: optional string, the model's name in requests; default: the
            folder's.
        host: string, the address to listen at.
        port: int, for HTTP; 0 for a free one.
        grpc_port: optional int, for gRPC; 0 for a free one; `None` for none.
        limits: optional `Limits`.
        token: optional string that clients must send.
        poll_seconds: float, time between two looks at the folder.

    Raises:
        ValueError: If no version can be loaded.
        OSError: If a port is taken.

    Example: `keras-moe serve` is this class on the command line.
    """

    def __init__(
        self,
        path,
        *,
        name=None,
        host=LOOPBACK,
        port=8501,
        grpc_port=8500,
        limits=None,
        token=None,
        poll_seconds=1.0,
    ):
        self.limits = limits or Limits()
        self.metrics = Metrics()
        self.name = name or pathlib.Path(path).absolute().name
        self.host = host
        self.grpc_port = grpc_port
        self._token = token
        self._stopping = False
        with contextlib.ExitStack() as undo:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self._socket = socket.create_server((host, port), family=family)
            undo.callback(self._socket.close)
            self.port = self._socket.getsockname()[1]
            self._versions = ModelVersions(
                path, self.name, self.metrics, poll_seconds=poll_seconds
            )
            undo.pop_all()
        self._batcher = Batcher(self.limits, self.metrics)
        self._predictor = Predictor(self._batcher, self.limits, self.metrics)

    @property
    def address(self):
        """The address of the page, and of REST below `/v1`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/"

    @property
    def version(self):
        """The version that serves."""
        with self._versions.lease() as model:
            return model.version

    async def run(self, stop, started=None):
        """Answer requests until `stop`, and then those in progress.

        Args:
            stop: `asyncio.Event`.
            started: optional function without arguments, called once both
                ports answer.

        Raises:
            OSError: If the port for gRPC is taken.
        """
        stack = contextlib.AsyncExitStack()
        stack.push_async_callback(asyncio.to_thread, self._close)
        async with stack:
            if self.grpc_port is not None:
                service = self._make_grpc_service()
                await service.start()
                stack.push_async_callback(
                    service.stop, self.limits.grace_seconds
                )
            http = _HttpServer(self._http_config())
            serving = asyncio.create_task(http.serve([self._socket]))
            stopped = asyncio.create_task(stop.wait())
            while not http.started and not serving.done():
                await asyncio.sleep(0.01)
            if started is not None:
                started()
            await asyncio.wait(
                (serving, stopped), return_when=asyncio.FIRST_COMPLETED
            )
            stopped.cancel()
            self._stopping = True
            http.should_exit = True
            await serving

    def _http_config(self):
        api = RestApi(self._versions, self._predictor, self.metrics)
        return uvicorn.Config(
            make_app(
                api,
                self.name,
                lambda: not self._stopping,
                self.metrics,
                self._token,
            ),
            http=impatient_protocol(self.limits.read_seconds),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            limit_concurrency=self.limits.max_connections,
            timeout_graceful_shutdown=math.ceil(self.limits.grace_seconds),
        )

    def _make_grpc_service(self):
        service = grpc.aio.server(
            interceptors=[
                TokenInterceptor(self._token),
                StatusInterceptor(),
            ],
            maximum_concurrent_rpcs=self.limits.max_connections,
            options=(
                ("grpc.max_receive_message_length", self.limits.max_body_bytes),
                ("grpc.max_send_message_length", -1),
                # Otherwise two servers may share a port, unnoticed.
                ("grpc.so_reuseport", 0),
            ),
        )
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
            PredictionService(self._versions, self._predictor, self.metrics),
            service,
        )
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(
            ModelService(self._versions), service
        )
        host = f"[{self.host}]" if ":" in self.host else self.host
        try:
            self.grpc_port = service.add_insecure_port(
                f"{host}:{self.grpc_port}"
            )
        except RuntimeError as error:
            raise OSError(
                f"Expected a free port for gRPC. Received: {host}:"
                f"{self.grpc_port}, which is taken. Choose another one."
            ) from error
        return service

    def _close(self):
        self._batcher.close()
        self._versions.close()
        self._socket.close()


async def run_until_signal(server, started=None):
    """Run a server until SIGINT or SIGTERM; a second one ends it at once.

    Args:
        server: `Server`.
        started: optional function, as for `Server.run`.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)

    def note():
        stop.set()
        for number in numbers:
            loop.remove_signal_handler(number)

    for number in numbers:
        loop.add_signal_handler(number, note)
    await server.run(stop, started)


class _HttpServer(uvicorn.Server):
    """uvicorn's server, whose signals are handled here."""

    @contextlib.contextmanager
    def capture_signals(self):
        """Leave the signals alone."""
        yield
