"""A server that speaks as much of the protocol as the page needs."""

import json
import threading
from http.server import BaseHTTPRequestHandler
from http.server import ThreadingHTTPServer
from pathlib import Path

import keras_moe

PAGE = Path(keras_moe.__file__).parent / "serving" / "page"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
NAME = "demo"
CAUSAL_LM = {
    "format": 1,
    "model": "MixtralCausalLM",
    "task": "causal_lm",
    "vocabulary_size": 256,
    "num_experts": [8, 8],
    "sparse_layers": [0, 1],
    "stop_token_ids": [],
    "tokenizer": {"kind": "bytes"},
    "chat_template": None,
    "dtype_policy": "float32",
    "weights": "float",
    "size_bytes": 1_500_000,
    "signatures": ["serving_default", "generate", "router_stats"],
    "largest_difference": 1e-6,
}


class StubServer(ThreadingHTTPServer):
    """Serves the page and an answer of prepared events.

    Attributes:
        description: dict, the answer to `:describe`.
        events: list of (name, data), the answer to `:stream`; `"pause"` waits
            until `go` is set, `"cut"` ends the connection.
        refusal: optional pair of status and message, instead of the events.
        token: optional str, the bearer token that requests must bring.
        bodies: list of dicts, the requests to `:stream`.
        disconnected: `threading.Event`, set once a client has gone away.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.description = dict(CAUSAL_LM)
        self.events = []
        self.refusal = None
        self.token = None
        self.bodies = []
        self.go = threading.Event()
        self.disconnected = threading.Event()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/"

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=(0.01,)).start()
        return super().__enter__()

    def __exit__(self, *arguments):
        self.go.set()
        self.shutdown()
        super().__exit__(*arguments)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        model = f"/v1/models/{NAME}"
        file = PAGE / (self.path.partition("?")[0][1:] or "index.html")
        if file.parent == PAGE and file.is_file():
            self._send(200, TYPES[file.suffix], file.read_bytes())
        elif not self._allowed():
            self._json(401, {"error": "Expected a bearer token."})
        elif self.path == "/v1/models":
            self._json(200, {"models": [NAME]})
        elif self.path == model:
            version = {"version": "3", "state": "AVAILABLE"}
            self._json(200, {"model_version_status": [version]})
        elif self.path == f"{model}:describe":
            self._json(200, self.server.description)
        else:
            self._json(404, {"error": f"No such path: {self.path}"})

    def do_POST(self):
        server = self.server
        length = int(self.headers["Content-Length"])
        server.bodies.append(json.loads(self.rfile.read(length)))
        if server.refusal:
            status, message = server.refusal
            self._json(status, {"error": message})
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        try:
            for name, data in server.events:
                if name == "pause":
                    self._wait()
                elif name == "cut":
                    return
                else:
                    event = f"event: {name}\r\ndata: {json.dumps(data)}\r\n\r\n"
                    self.wfile.write(event.encode())
        except ConnectionError:
            server.disconnected.set()

    def _wait(self):
        # A comment, as servers send them to see who is still there.
        while not self.server.go.wait(0.05):
            self.wfile.write(b": still here\r\n\r\n")

    def _allowed(self):
        expected = f"Bearer {self.server.token}"
        given = self.headers["Authorization"]
        return self.server.token is None or given == expected

    def _json(self, status, answer):
        self._send(status, "application/json", json.dumps(answer).encode())

    def _send(self, status, kind, body):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass
