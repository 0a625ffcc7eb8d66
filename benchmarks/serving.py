"""How much `keras-moe serve` answers, and that every answer is right.

    python benchmarks/serving.py exported/demo                     # 2 minutes
    python benchmarks/serving.py exported/demo --seconds 10 --clients 8
    python benchmarks/serving.py exported/demo --requests 10000    # memory

Starts two servers on free ports: one that batches, and one whose batches have
one row. Clients send prompts of mixed lengths to `generate`, in turns to one
server and the other; every answer is compared with that of the SavedModel
itself, which this process asks one prompt at a time. Prints a Markdown table.
"""

import argparse
import contextlib
import http.client
import json
import os
import pathlib
import statistics
import subprocess
import sys
import threading
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from keras_moe.serving.loaded_model import LoadedModel


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path, help="of all versions")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=120, help="per server")
    parser.add_argument("--rounds", type=int, default=6, help="per server")
    parser.add_argument("--requests", type=int, help="then stop; one server")
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--shortest", type=int, default=4)
    parser.add_argument("--longest", type=int, default=200)
    parser.add_argument("--max-new-tokens", type=int, default=16)
    settings = parser.parse_args()
    print(measure(settings))


def measure(settings):
    """Load the servers and report.

    Args:
        settings: namespace, as of the command line.

    Returns:
        str, a Markdown table.

    Raises:
        RuntimeError: If an answer is wrong or missing.
    """
    work = make_work(settings)
    sizes = {"batches": 32} if settings.requests else {"batches": 32, "one": 1}
    results = {label: Result() for label in sizes}
    with contextlib.ExitStack() as stack:
        servers = {
            label: stack.enter_context(running(settings.folder, size))
            for label, size in sizes.items()
        }
        for server in servers.values():
            # What is slow the first time is not what is measured.
            load(server, work, settings.clients, Result(), seconds=1)
        before = {label: memory_of(x.process) for label, x in servers.items()}
        for turn in range(1 if settings.requests else settings.rounds):
            # Turn around after each round: what drifts hits both alike.
            for label in [*sizes][:: -1 if turn % 2 else 1]:
                load(
                    servers[label],
                    work,
                    settings.clients,
                    results[label],
                    seconds=settings.seconds / settings.rounds,
                    requests=settings.requests,
                )
        grown = {
            label: memory_of(x.process) - before[label]
            for label, x in servers.items()
        }
    return report(results, grown)


class Server:
    """A server in a process of its own.

    Attributes:
        process: `subprocess.Popen`.
        port: int.
        name: string, of the model.
    """

    def __init__(self, process):
        self.process = process
        lines = [process.stdout.readline() for _ in range(2)]
        if not lines[1]:
            raise RuntimeError("The server did not start.")
        self.port = int(lines[0].strip().rstrip("/").rpartition(":")[2])
        self.name = lines[1].partition("/models/")[2].partition(" ")[0]


class Result:
    """What the clients saw.

    Attributes:
        latencies: list of floats, seconds.
        seconds: float, how long they asked.
        tokens: int, how many they got.
        wrong: list of what was not as it should be.
    """

    def __init__(self):
        self.latencies = []
        self.seconds = 0.0
        self.tokens = 0
        self.wrong = []


@contextlib.contextmanager
def running(folder, max_batch_size):
    """Run a server with a batch size; stop it at the end."""
    command = [sys.executable, "-m", "keras_moe.cli", "serve", str(folder)]
    command += ["--port=0", "--grpc-port=-1"]
    command += [f"--max-batch-size={max_batch_size}"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Server(process)
            process.terminate()
            if process.wait(60) != 0:
                raise RuntimeError("The server did not end well.")
        finally:
            process.kill()


def make_work(settings):
    """Draw prompts and ask the model itself for each one's answer.

    Returns:
        list of pairs of request, bytes, and the right answer, a dict.
    """
    newest = max(
        (x for x in settings.folder.iterdir() if x.name.isdecimal()),
        key=lambda folder: int(folder.name),
    )
    model = LoadedModel(newest)
    signature = model.signatures["generate"]
    generator = np.random.default_rng(0)
    work = []
    for number in range(settings.prompts):
        length = generator.integers(settings.shortest, settings.longest + 1)
        high = model.description.vocabulary_size or 256
        token_ids = generator.integers(0, high, (1, length)).astype("int32")
        inputs = {
            "token_ids": token_ids,
            "padding_mask": np.ones_like(token_ids),
            "max_new_tokens": np.array([settings.max_new_tokens], "int32"),
            # Every other one is sampled.
            "temperature": np.array([number % 2], "float32"),
            "seed": np.array([number], "int32"),
        }
        answer = model.run(signature, {**signature.defaults, **inputs})
        body = {"signature_name": "generate", "inputs": to_lists(inputs)}
        work.append((json.dumps(body).encode(), to_lists(answer), int(length)))
    return work


def to_lists(arrays):
    """Make nested lists of the values of a dict."""
    return {name: array.tolist() for name, array in arrays.items()}


def load(server, work, clients, result, *, seconds, requests=None):
    """Let clients ask for a time, or for a number of requests.

    Args:
        server: `Server`.
        work: list, as of `make_work`.
        clients: int.
        result: `Result`, which grows.
        seconds: float.
        requests: optional int, in place of the time.
    """
    start = time.monotonic()
    lock = threading.Lock()
    left = [requests]

    def go_on():
        if requests is None:
            return time.monotonic() < start + seconds
        with lock:
            left[0] -= 1
            return left[0] >= 0

    def ask(number):
        generator = np.random.default_rng(number)
        connection = http.client.HTTPConnection("127.0.0.1", server.port)
        path = f"/v1/models/{server.name}:predict"
        while go_on():
            body, right, length = work[generator.integers(len(work))]
            began = time.monotonic()
            try:
                connection.request("POST", path, body)
                response = connection.getresponse()
                answer = json.loads(response.read())
            except (OSError, http.client.HTTPException, ValueError) as error:
                connection.close()
                response, answer = None, repr(error)
            took = time.monotonic() - began
            with lock:
                result.latencies.append(took)
                if response is not None and answer == {"outputs": right}:
                    result.tokens += right["lengths"][0] - length
                else:
                    result.wrong.append(str(answer)[:200])
        connection.close()

    threads = [
        threading.Thread(target=ask, args=(number,))
        for number in range(clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    result.seconds += time.monotonic() - start


def memory_of(process):
    """Return a process' memory in MiB; 0 where Linux does not tell."""
    try:
        pages = pathlib.Path(f"/proc/{process.pid}/statm").read_text().split()
    except OSError:
        return 0.0
    return int(pages[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def report(results, grown):
    """Write the results as a Markdown table.

    Raises:
        RuntimeError: If an answer was wrong or missing.
    """
    wrong = [each for result in results.values() for each in result.wrong]
    if wrong:
        raise RuntimeError(
            f"{len(wrong)} answers were wrong, the first: {wrong[0]}"
        )
    lines = [
        "| rows per call | requests | per second | tokens per second "
        "| p50 ms | p99 ms | memory grew MiB |",
        "|---|---|---|---|---|---|---|",
    ]
    for label, result in results.items():
        cuts = statistics.quantiles(result.latencies, n=100)
        lines.append(
            f"| {label} | {len(result.latencies)} "
            f"| {len(result.latencies) / result.seconds:.1f} "
            f"| {result.tokens / result.seconds:.0f} "
            f"| {1e3 * cuts[49]:.0f} | {1e3 * cuts[98]:.0f} "
            f"| {grown[label]:.1f} |"
        )
    if len(results) == 2:
        gain = [len(x.latencies) / x.seconds for x in results.values()]
        lines.append(f"\nBatching answers {gain[0] / gain[1]:.2f}x as many.")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
