"""`keras-moe serve` as a process of its own, without Keras."""

import http.client
import json
import os
import signal
import subprocess
import sys

import pytest
import tensorflow as tf
from typer.testing import CliRunner

from keras_moe.cli.app import app

pytestmark = pytest.mark.once

# What keeps the server's start short; none of it may be imported.
PROGRAM = """
import sys
for name in ("keras", "keras_hub", "tf_keras", "jax", "torch"):
    sys.modules[name] = None
sys.argv[0] = "keras-moe"
from keras_moe.cli import main
main()
"""


class Doubling(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec((None,), name="x")])
    def double(self, x):
        return {"y": 2 * x}


@pytest.fixture
def folder(tmp_path):
    model = Doubling()
    tf.saved_model.save(
        model, str(tmp_path / "double" / "1"), {"serving_default": model.double}
    )
    return tmp_path / "double"


def launch(*arguments):
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "serve", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # The backend is Keras', which this process has not.
        env={**os.environ, "KERAS_MOE_TRACEBACK": "", "KERAS_BACKEND": ""},
    )


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGTERM,
        pytest.param(signal.SIGINT, marks=pytest.mark.exhaustive),
    ],
)
def test_it_serves_without_keras_until_a_signal(folder, number):
    with launch(folder, "--port=0", "--grpc-port=0") as process:
        lines = [process.stdout.readline() for _ in range(3)]
        assert [line.partition(":")[0] for line in lines] == [
            "Page",
            "REST",
            "gRPC",
        ]
        assert "/v1/models/double (version 1)" in lines[1]
        port = int(lines[0].rstrip("/\n").rpartition(":")[2])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request(
            "POST", "/v1/models/double:predict", '{"instances": [1.5, 2]}'
        )
        answer = json.loads(connection.getresponse().read())
        connection.close()
        process.send_signal(number)
        output, errors = process.communicate(timeout=60)
    assert answer == {"predictions": [3.0, 4.0]}
    assert process.returncode == 0, errors
    assert output == "Stopped.\n"
    assert "Serving version 1" in errors


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["nowhere"], "numbered versions of a SavedModel"),
        (["nowhere", "--max-queue=0"], "max-queue"),
        (["nowhere", "--token-file=absent"], "No such file"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, monkeypatch, arguments, reason):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["serve", "--port=0", *arguments])
    assert result.exit_code != 0
    assert reason in f"{result.output} {result.exception}"
