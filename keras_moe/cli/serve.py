"""`keras-moe serve`: answer requests with an exported model."""

import asyncio
import logging
import os
from pathlib import Path
from typing import Annotated

import typer

from keras_moe.cli.backend import error_stream_aside
from keras_moe.cli.console import make_console


def serve(
    path: Annotated[
        Path, typer.Argument(help="Folder of all versions, as of `export`.")
    ],
    name: Annotated[
        str | None,
        typer.Option(help="Model's name in requests; default: the folder's."),
    ] = None,
    host: Annotated[
        str,
        typer.Option(help="Address to listen at; 0.0.0.0 for all networks."),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="HTTP port; 0: a free one.")
    ] = 8501,
    grpc_port: Annotated[
        int,
        typer.Option(
            min=-1, max=65535, help="gRPC port; 0: a free one; -1: no gRPC."
        ),
    ] = 8500,
    token_file: Annotated[
        Path | None,
        typer.Option(
            help="File with the bearer token that clients must send; default: "
            "the variable KERAS_MOE_SERVE_TOKEN."
        ),
    ] = None,
    max_batch_size: Annotated[
        int, typer.Option(min=1, help="Rows per call; 1: no batching.")
    ] = 32,
    batch_timeout_ms: Annotated[
        float, typer.Option(min=0, help="Milliseconds to wait for others.")
    ] = 2.0,
    max_queue: Annotated[
        int, typer.Option(min=1, help="Requests that may wait.")
    ] = 256,
    max_tokens: Annotated[
        int, typer.Option(min=1, help="Tokens per request, new ones included.")
    ] = 4096,
    max_new_tokens: Annotated[
        int, typer.Option(min=1, help="New tokens per row.")
    ] = 1024,
    max_body_bytes: Annotated[
        int, typer.Option(min=1, help="Bytes per request.")
    ] = 4 * 2**20,
    max_connections: Annotated[
        int, typer.Option(min=1, help="Open connections.")
    ] = 256,
    timeout: Annotated[
        float, typer.Option(min=0.001, help="Seconds per request.")
    ] = 60.0,
    stream_chunk: Annotated[
        int, typer.Option(min=1, help="New tokens per event of a stream.")
    ] = 8,
):
    """Serve an exported model over HTTP and gRPC, with a page to try it."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        with error_stream_aside():
            from keras_moe.serving import Limits
            from keras_moe.serving import Server
            from keras_moe.serving.access import read_token
            from keras_moe.serving.server import run_until_signal
    except ImportError as error:
        raise ImportError(
            "keras-moe serve needs TensorFlow and the server's libraries: "
            f"pip install 'keras-moe[serve]' ({error})"
        ) from error
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("keras_moe").setLevel(logging.INFO)
    # TensorFlow's, of gradients that an export does not have.
    logging.getLogger("absl").setLevel(logging.ERROR)
    token = read_token(token_file)
    server = Server(
        path,
        name=name,
        host=host,
        port=port,
        grpc_port=None if grpc_port < 0 else grpc_port,
        token=token,
        limits=Limits(
            max_batch_size=max_batch_size,
            batch_timeout=batch_timeout_ms / 1000,
            max_queue=max_queue,
            max_tokens=max_tokens,
            max_new_tokens=max_new_tokens,
            max_body_bytes=max_body_bytes,
            max_connections=max_connections,
            request_seconds=timeout,
            stream_chunk=stream_chunk,
        ),
    )
    console = make_console()

    def announce():
        base = f"{server.address}v1/models/{server.name}"
        console.print(f"Page: {server.address}")
        console.print(f"REST: {base} (version {server.version})")
        if server.grpc_port is not None:
            console.print(f"gRPC: {server.host}:{server.grpc_port}")
        if token is None and host != "127.0.0.1":
            console.print("[yellow]Open to everybody who reaches it.[/]")

    asyncio.run(run_until_signal(server, announce))
    console.print("Stopped.")
