"""An export answers a C++ program that serves it as TensorFlow Serving does."""

import fcntl
import os
import pathlib
import platform
import shutil
import subprocess

import keras
import numpy as np
import pytest

from keras_moe.export.answers import make_live_functions
from keras_moe.export.endpoints import describe_signatures
from keras_moe.export.inference_function import make_inference_function
from tests.models.small_backbones import make_task

SOURCE = pathlib.Path(__file__).with_name("model_server.cc")

# Compiling takes 12 s of processor time, and minutes on a crowded machine.
pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.exhaustive,
    pytest.mark.slow,
]


@pytest.fixture(scope="session")
def program(tmp_path_factory, worker_id):
    """The compiled server, once for all test processes."""
    if shutil.which("g++") is None or platform.system() != "Linux":
        pytest.skip("needs g++ on Linux to compile against TensorFlow")
    tensorflow = pytest.importorskip("tensorflow")
    libraries = os.path.dirname(tensorflow.__file__)
    folder = tmp_path_factory.getbasetemp()
    if worker_id != "master":
        folder = folder.parent
    program = folder / "model_server"
    with open(folder / "model_server.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if program.exists():
            return program, libraries
        flags = tensorflow.sysconfig.get_compile_flags()
        subprocess.run(
            [
                *["g++", *flags, "-std=c++17", "-O1", "-w", str(SOURCE)],
                *["-o", str(program), f"-L{libraries}", "-ldl"],
                "-l:libtensorflow_framework.so.2",
                f"-Wl,-rpath,{libraries}",
            ],
            check=True,
        )
    return program, libraries


@pytest.fixture(scope="session")
def ask(program):
    """Function from a folder of versions and requests to answers."""
    from tests.export.predict_messages import decode_answers

    file, libraries = program

    def ask(base, requests):
        finished = subprocess.run(
            [str(file), str(base)],
            input=b"".join(requests),
            capture_output=True,
            env={
                **os.environ,
                "LD_LIBRARY_PATH": libraries,
                "TF_CPP_MIN_LOG_LEVEL": "3",
            },
        )
        log = finished.stderr.decode()
        assert finished.returncode == 0, log
        return decode_answers(finished.stdout), log

    return ask


@pytest.fixture(scope="module")
def task():
    """A small language model with a sliding window of 3."""
    keras.utils.set_random_seed(0)
    return make_task("mixtral", num_layers=1, sliding_window=3)


@pytest.fixture(scope="module")
def exported_task(task, export_once):
    """Folder of a version with every signature."""
    return export_once(task, "served", signatures="all")


def encode(*arguments):
    from tests.export.predict_messages import encode_request

    return encode_request(*arguments)


def test_a_cpp_program_gets_the_answers_of_the_model(
    ask, exported, language_model, exported_sparse, sparse_model, token_batch
):
    one_token = {name: array[:1, :1] for name, array in token_batch.items()}
    requests = (token_batch, one_token)
    answers, log = ask(
        exported.parent, [encode("serving_default", x) for x in requests]
    )
    assert f"version: {exported}" in log
    # `serve` is no signature of its own.
    assert "warm-up requests: 1" in log
    for answer, request in zip(answers, requests, strict=True):
        expected = make_inference_function(language_model)(request)
        assert set(answer) == set(expected) == {"logits", "pooled"}
        np.testing.assert_allclose(
            answer["logits"], expected["logits"], atol=1e-5
        )
        # The last place of a bfloat16 below 2.
        np.testing.assert_allclose(
            answer["pooled"],
            expected["pooled"].astype("float32"),
            atol=2**-7,
        )
    request = {"inputs": token_batch["token_ids"]}
    [answer], _ = ask(exported_sparse.parent, [encode("", request)])
    expected = make_inference_function(sparse_model)(request)
    np.testing.assert_allclose(
        answer["output_0"], expected["output_0"], atol=1e-5
    )


def test_a_cpp_program_gets_the_answers_of_every_signature(
    ask, task, exported_task
):
    endpoints = describe_signatures(task, "all")
    functions = make_live_functions(task, endpoints)
    generator = np.random.default_rng(0)
    tokens = {
        "token_ids": generator.integers(0, 48, (2, 5), "int32"),
        "padding_mask": np.array([[1] * 5, [1, 1, 0, 0, 0]], "int32"),
    }
    options = {
        "max_new_tokens": np.array([4, 3], "int32"),
        "temperature": np.array([0.0, 0.9], "float32"),
        "seed": np.array([0, 5], "int32"),
    }
    asked = {name: tokens for name in functions}
    asked["generate"] = {**tokens, **options}
    answers, log = ask(
        exported_task.parent,
        [encode(name, inputs) for name, inputs in asked.items()],
    )
    assert f"warm-up requests: {len(functions)}" in log
    for answer, (name, inputs) in zip(answers, asked.items(), strict=True):
        defaults = {
            x.name: np.array(x.default, x.dtype)
            for endpoint in endpoints
            if endpoint.name == name
            for x in endpoint.inputs
            if x.default is not None
        }
        expected = functions[name]({**defaults, **inputs})
        assert {*answer} == {*expected}, name
        for output, array in answer.items():
            if array.dtype.kind == "f":
                np.testing.assert_allclose(
                    array, expected[output], atol=1e-4, err_msg=name
                )
            else:
                np.testing.assert_array_equal(array, expected[output], name)


def test_a_cpp_program_refuses_bad_requests(ask, exported, token_batch):
    ids = {"token_ids": token_batch["token_ids"]}
    wide = {name: x.astype("int64") for name, x in token_batch.items()}
    flat = {name: x[0] for name, x in token_batch.items()}
    answers, _ = ask(
        exported.parent,
        [
            encode("unknown", token_batch),
            encode("serving_default", ids),
            encode("serving_default", {**token_batch, "extra": [1]}),
            encode("serving_default", wide),
            encode("serving_default", flat),
            b"\x03abc",
            encode("serving_default", token_batch),
        ],
    )
    expected = [
        'FAILED_PRECONDITION: Serving signature key "unknown" not found.',
        "INVALID_ARGUMENT: input size does not match signature. Sent extra: "
        "{}. Missing but required: {padding_mask}",
        "INVALID_ARGUMENT: input size does not match signature. Sent extra: "
        "{extra}. Missing but required: {}",
    ]
    assert answers[:3] == expected
    for answer in answers[3:6]:
        assert answer.startswith("INVALID_ARGUMENT: ")
    # It goes on answering.
    assert set(answers[6]) == {"logits", "pooled"}
