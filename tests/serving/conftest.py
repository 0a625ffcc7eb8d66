"""A tiny SavedModel with the signatures of a language model, and its server.

The model is arithmetic, so that NumPy can say what it must answer: the next
token is the sum of all tokens so far, plus three times its position, plus the
seed if the temperature is above 0, modulo V.
"""

import asyncio
import contextlib
import http.client
import json
import shutil
import threading

import grpc
import numpy as np
import pytest
import tensorflow as tf

from keras_moe.serving import Limits
from keras_moe.serving import Server

V = 256
NUM_LAYERS, NUM_EXPERTS, TOP_K = 2, 4, 2
# Defaults of the options: they have to be tensors to be saved.
NEW_TOKENS = tf.constant([64])
GREEDY = tf.constant([0.0])
ALL_TOKENS = tf.constant([0])
ALL_MASS = tf.constant([1.0])
SEED = tf.constant([0])
NO_STOP = tf.constant([[-1]])
DESCRIPTION = {
    "format": 1,
    "model": "Toy",
    "task": "causal_lm",
    "vocabulary_size": V,
    "num_experts": [NUM_EXPERTS] * NUM_LAYERS,
    "sparse_layers": [*range(NUM_LAYERS)],
    "signatures": ["generate", "router_stats"],
    "stop_token_ids": [],
    "tokenizer": {"kind": "bytes"},
}


class ToyModel(tf.Module):
    """Answers by arithmetic; `scale` tells two versions apart."""

    def __init__(self, scale):
        super().__init__()
        self.scale = tf.Variable(float(scale))

    def logits(self, token_ids, padding_mask):
        real = tf.cast(padding_mask, "float32")[..., None]
        return {"logits": self.scale * tf.one_hot(token_ids, V) * real}

    def score(self, token_ids, padding_mask):
        scores = -tf.cast(tf.cumsum(token_ids, axis=1), "float32")
        return {"log_probabilities": scores * tf.cast(padding_mask, "float32")}

    def embed(self, token_ids, padding_mask):
        logits = self.logits(token_ids, padding_mask)["logits"]
        count = tf.reduce_sum(tf.cast(padding_mask, "float32"), 1)
        return {"embeddings": tf.reduce_sum(logits, 1) / count[:, None]}

    def router_stats(self, token_ids, padding_mask):
        # (B, L) -> (B, L, layers, K)
        choices = tf.range(NUM_LAYERS)[:, None] + tf.range(TOP_K)
        experts = (token_ids[..., None, None] + choices) % NUM_EXPERTS
        experts = tf.where(padding_mask[..., None, None] > 0, experts, -1)
        load = tf.reduce_sum(tf.one_hot(experts, NUM_EXPERTS), axis=(1, 3))
        load /= tf.reduce_sum(load, axis=-1, keepdims=True)
        return {"expert_load": load, "routed_experts": experts}

    def generate(
        self,
        token_ids,
        padding_mask,
        max_new_tokens=NEW_TOKENS,
        temperature=GREEDY,
        top_k=ALL_TOKENS,
        top_p=ALL_MASS,
        seed=SEED,
        stop_token_ids=NO_STOP,
    ):
        rows = tf.shape(token_ids)[0]
        new = tf.broadcast_to(max_new_tokens, [rows])
        offset = tf.broadcast_to(
            tf.where(temperature > 0, seed, 0) + 0 * top_k, [rows]
        )
        width = tf.shape(token_ids)[1] + tf.reduce_max(new)
        start = tf.reduce_sum(padding_mask, 1)
        added = width - tf.shape(token_ids)[1]
        tokens = tf.pad(token_ids * padding_mask, [[0, 0], [0, added]])
        stopped = tf.zeros([rows], "bool")
        lengths = start
        for _ in tf.range(tf.reduce_max(new)):
            going = ~stopped & (lengths < start + new)
            drawn = (tf.reduce_sum(tokens, 1) + 3 * lengths + offset) % V
            here = tf.one_hot(lengths, width, dtype="int32")
            tokens += here * (drawn * tf.cast(going, "int32"))[:, None]
            hit = tf.reduce_any(drawn[:, None] == stop_token_ids, axis=1)
            lengths += tf.cast(going, "int32")
            stopped |= going & hit
        return {
            "token_ids": tokens,
            "padding_mask": tf.sequence_mask(lengths, width, "int32"),
            "lengths": lengths,
        }

    def generate_text(self, prompt, max_new_tokens=NEW_TOKENS):
        characters = tf.strings.bytes_split(prompt)
        start = tf.cast(characters.row_lengths(), "int32")
        table = tf.constant([bytes([each]) for each in range(V)])
        padded = characters.to_tensor(b"\0")
        equal = padded[..., None] == table
        token_ids = tf.argmax(equal, axis=-1, output_type="int32")
        mask = tf.sequence_mask(start, dtype="int32")
        made = self.generate(token_ids, mask, max_new_tokens)
        mask = tf.cast(made["padding_mask"], "bool") & ~tf.sequence_mask(
            start, tf.shape(made["token_ids"])[1]
        )
        new = tf.ragged.boolean_mask(tf.gather(table, made["token_ids"]), mask)
        text = tf.strings.reduce_join(new, axis=-1)
        return {
            "text": text,
            "token_ids": made["token_ids"],
            "lengths": made["lengths"],
        }


def save(folder, scale=1, description=DESCRIPTION):
    """Writes the toy as a version folder."""
    model = ToyModel(scale)
    texts = {
        name: tf.TensorSpec((None, None), "int32", name)
        for name in ("token_ids", "padding_mask")
    }
    options = {
        "max_new_tokens": tf.TensorSpec((None,), "int32"),
        "temperature": tf.TensorSpec((None,), "float32"),
        "top_k": tf.TensorSpec((None,), "int32"),
        "top_p": tf.TensorSpec((None,), "float32"),
        "seed": tf.TensorSpec((None,), "int32"),
        "stop_token_ids": tf.TensorSpec((None, None), "int32"),
    }
    new_tokens = {"max_new_tokens": options["max_new_tokens"]}
    prompt = {"prompt": tf.TensorSpec((None,), "string"), **new_tokens}
    functions = {
        "serving_default": (model.logits, texts),
        "score": (model.score, texts),
        "embed": (model.embed, texts),
        "router_stats": (model.router_stats, texts),
        "generate": (model.generate, {**texts, **options}),
        "generate_text": (model.generate_text, prompt),
    }
    tf.saved_model.save(
        model,
        str(folder),
        signatures={
            name: tf.function(function, input_signature=[*specs.values()])
            for name, (function, specs) in functions.items()
        },
    )
    extra = folder / "assets.extra"
    extra.mkdir()
    (extra / "keras_moe.json").write_text(json.dumps(description))


@pytest.fixture(scope="session")
def saved_version(tmp_path_factory):
    """The folder of a version, to be copied."""
    folder = tmp_path_factory.mktemp("saved") / "1"
    save(folder)
    return folder


@pytest.fixture(scope="session")
def other_version(tmp_path_factory):
    """A version whose logits are twice as large."""
    folder = tmp_path_factory.mktemp("saved") / "2"
    save(folder, scale=2)
    return folder


@pytest.fixture
def versions_folder(saved_version, tmp_path):
    """A folder of versions of its own, with version 1."""
    shutil.copytree(saved_version, tmp_path / "toy" / "1")
    return tmp_path / "toy"


class Client:
    """Talks to a server over HTTP and gRPC."""

    def __init__(self, server):
        self.server = server

    def request(self, method, path, body=None, headers=()):
        """Returns status, headers and the body's bytes."""
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.server.port, timeout=30
        )
        with contextlib.closing(connection):
            if isinstance(body, dict):
                body = json.dumps(body)
            connection.request(method, path, body, dict(headers))
            response = connection.getresponse()
            return response.status, dict(response.headers), response.read()

    def get(self, path):
        status, _, body = self.request("GET", path)
        return status, json.loads(body)

    def post(self, verb, body):
        path = f"/v1/models/{self.server.name}:{verb}"
        status, _, answer = self.request("POST", path, body)
        return status, json.loads(answer)

    def predict(self, signature_name, inputs):
        """Returns the outputs of a request by columns, which must be fine."""
        body = {"signature_name": signature_name, "inputs": inputs}
        status, answer = self.post("predict", body)
        assert status == 200, answer
        return answer["outputs"]

    def stream(self, **body):
        """Returns the events of a stream as pairs of name and data."""
        path = f"/v1/models/{self.server.name}:stream"
        status, headers, answer = self.request("POST", path, body)
        assert status == 200, answer
        assert headers["content-type"].startswith("text/event-stream")
        return parse_events(answer)

    def metric(self, name):
        """Returns the sum of a metric over its labels."""
        _, _, answer = self.request("GET", "/metrics")
        return sum(
            float(line.rpartition(" ")[2])
            for line in answer.decode().splitlines()
            if line.partition("{")[0].partition(" ")[0] == name
        )

    @contextlib.contextmanager
    def channel(self):
        with grpc.insecure_channel(f"127.0.0.1:{self.server.grpc_port}") as it:
            yield it


def parse_events(answer):
    events = []
    for block in answer.decode().split("\n\n")[:-1]:
        name, data = block.split("\n")
        events.append(
            (
                name.removeprefix("event: "),
                json.loads(data.removeprefix("data: ")),
            )
        )
    return events


@contextlib.contextmanager
def running(path, **options):
    """Runs a server in a thread and yields a client of it."""
    server = Server(path, **{"port": 0, "grpc_port": 0, **options})
    ready = threading.Event()
    handles = []

    async def run():
        stop = asyncio.Event()
        handles.extend((asyncio.get_running_loop(), stop))
        await server.run(stop, ready.set)

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    try:
        assert ready.wait(30)
        client = Client(server)
        client.stop = lambda: handles[0].call_soon_threadsafe(handles[1].set)
        yield client
    finally:
        if thread.is_alive():
            handles[0].call_soon_threadsafe(handles[1].set)
        thread.join(30)
        assert not thread.is_alive()


@pytest.fixture
def start(versions_folder):
    """Starts servers with options of the test's own."""
    with contextlib.ExitStack() as stack:

        def start(path=versions_folder, limits=None, **options):
            return stack.enter_context(
                running(path, limits=Limits(**(limits or {})), **options)
            )

        yield start


@pytest.fixture(scope="module")
def client(saved_version, tmp_path_factory):
    """A client of a server that the tests of a file share."""
    folder = tmp_path_factory.mktemp("served") / "toy"
    shutil.copytree(saved_version, folder / "1")
    with running(folder) as it:
        yield it


@pytest.fixture(scope="session")
def continued():
    """Returns what the toy must generate, computed without it."""

    def continued(prompt, new, seed=0, stops=()):
        tokens = list(prompt)
        for _ in range(new):
            tokens.append((sum(tokens) + 3 * len(tokens) + seed) % V)
            if tokens[-1] in stops:
                break
        return tokens

    return continued


@pytest.fixture(scope="session")
def texts():
    """Returns token ids and mask of prompts, padded on the right."""

    def texts(*prompts):
        width = max(map(len, prompts))
        mask = [[1] * len(x) + [0] * (width - len(x)) for x in prompts]
        ids = [[*x, *[0] * (width - len(x))] for x in prompts]
        return {"token_ids": ids, "padding_mask": mask}

    return texts


@pytest.fixture(scope="session")
def prompts():
    """Returns random prompts of different lengths."""

    def prompts(count, longest=40, seed=0):
        generator = np.random.default_rng(seed)
        return [
            generator.integers(1, V, generator.integers(1, longest)).tolist()
            for _ in range(count)
        ]

    return prompts
