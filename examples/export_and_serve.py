"""Train a model, export it, serve it, and ask for text over two protocols.

    KERAS_BACKEND=torch python examples/export_and_serve.py

The server is `keras-moe serve`; the folder and both clients work with
TensorFlow Serving too. The four texts that are printed are the same.
"""

import argparse
import contextlib
import pathlib
import socket
import subprocess
import sys
import time
import urllib.request

from keras_moe.cli.fit import fit
from keras_moe.cli.generate import continue_prompt
from keras_moe.cli.language_model import ModelSize
from keras_moe.cli.run_folder import RunFolder
from keras_moe.cli.training import TrainingSettings
from keras_moe.export import export_saved_model

CLIENTS = pathlib.Path(__file__).parent / "clients"
PROMPT = "def __init__(self, "


@contextlib.contextmanager
def served(path, name):
    """Serve a folder of versions and yield the addresses, HTTP and gRPC."""
    http, grpc = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "keras_moe.cli", "serve", str(path)]
    command += ["--name", name, "--port", http.rpartition(":")[2]]
    command += ["--grpc-port", grpc.rpartition(":")[2]]
    with subprocess.Popen(command) as process:
        try:
            wait_until_ready(f"http://{http}/readyz", process)
            yield f"http://{http}", grpc
        finally:
            process.terminate()


def wait_until_ready(url, process, seconds=120):
    deadline = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(url, timeout=5).close()
            return
        time.sleep(0.1)
    raise RuntimeError(f"The server did not answer {url}.")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ask(client, *arguments):
    """Run one of the two clients and return the text that it prints."""
    command = [sys.executable, CLIENTS / client, *arguments]
    return subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True
    ).stdout.removesuffix("\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--path", default="runs/export_and_serve")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--new-tokens", type=int, default=40)
    arguments = parser.parse_args()
    path = pathlib.Path(arguments.path)

    # The model of `keras-moe train`, smaller and for a minute.
    size = ModelSize(hidden_dim=64, num_layers=2, intermediate_dim=128)
    settings = TrainingSettings(size=size, steps=arguments.steps)
    model = fit(settings, RunFolder(path / "run"), overwrite=True)

    versions = path / "saved_model"
    folder = export_saved_model(model, versions, overwrite=True)
    text = continue_prompt(model, PROMPT, arguments.new_tokens, "greedy")
    print(f"in this process: {text.removeprefix(PROMPT)!r}")

    with served(versions, "example") as (http, grpc):
        options = ["--max-new-tokens", str(arguments.new_tokens)]
        options += ["--version-folder", str(folder)]
        over_http = ask("http_client.py", http, "example", PROMPT, *options)
        print(f"over HTTP:       {over_http!r}")
        over_grpc = ask("grpc_client.py", grpc, "example", PROMPT, *options)
        print(f"over gRPC:       {over_grpc!r}")
        options.append("--stream")
        streamed = ask("http_client.py", http, "example", PROMPT, *options)
        print(f"as a stream:     {streamed!r}")
    texts = {over_http, over_grpc, streamed, text.removeprefix(PROMPT)}
    print(f"all the same:    {len(texts) == 1}")


if __name__ == "__main__":
    main()
