"""Export a model from any backend and answer requests over HTTP.

    KERAS_BACKEND=torch python examples/export_and_serve.py

The folder that is written is what TensorFlow Serving expects. The small
server below stands in for it on machines without one: it speaks the same
`POST /v1/models/NAME:predict`, for one request on this machine, without Keras.
"""

import argparse
import json
import pathlib
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler
from http.server import HTTPServer

import keras
import numpy as np

from keras_moe.export import export_saved_model
from keras_moe.export import verify_saved_model
from keras_moe.models import MixtralBackbone
from keras_moe.models import MixtralCausalLM


def make_server(folder, name):
    """Serve a SavedModel's `serving_default` on a free local port."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder))
    signature = loaded.signatures["serving_default"]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            if self.path != f"/v1/models/{name}:predict":
                self.send_error(404)
                return
            length = int(self.headers["Content-Length"])
            request = json.loads(self.rfile.read(length))
            inputs = {
                key: tf.constant(value, tf.int32)
                for key, value in request["inputs"].items()
            }
            (outputs,) = signature(**inputs).values()
            reply = json.dumps({"outputs": outputs.numpy().tolist()}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, *arguments):
            pass

    return HTTPServer(("127.0.0.1", 0), Handler)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--path", default="runs/served_mixtral")
    arguments = parser.parse_args()
    keras.utils.set_random_seed(0)

    # Any trained model does; this one is small and untrained.
    model = MixtralCausalLM(
        MixtralBackbone(
            vocabulary_size=256,
            num_layers=2,
            num_query_heads=4,
            num_key_value_heads=2,
            hidden_dim=32,
            intermediate_dim=64,
            num_experts=8,
        )
    )
    path = pathlib.Path(arguments.path)
    folder = export_saved_model(model, path, overwrite=True)
    result = verify_saved_model(model, path)
    print(f"largest difference: {result.largest_difference:.1e}")

    server = make_server(folder, path.name)
    threading.Thread(target=server.handle_request, daemon=True).start()
    token_ids = [list(b"import keras")]
    inputs = {
        "token_ids": token_ids,
        "padding_mask": np.ones_like(token_ids).tolist(),
    }
    request = urllib.request.Request(
        f"http://127.0.0.1:{server.server_port}/v1/models/{path.name}:predict",
        json.dumps({"inputs": inputs}).encode(),
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        logits = np.array(json.load(response)["outputs"])
    server.server_close()
    print(f"logits over HTTP: {logits.shape}")
    expected = keras.ops.convert_to_numpy(
        model({name: np.array(value) for name, value in inputs.items()})
    )
    print(f"difference to Keras: {np.abs(logits - expected).max():.1e}")


if __name__ == "__main__":
    main()
