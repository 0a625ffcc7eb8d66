"""An export answers a C++ program that loads it as TensorFlow Serving does."""

import os
import pathlib
import platform
import shutil
import subprocess

import numpy as np
import pytest

from keras_moe.export.inference_function import make_inference_function

SOURCE = pathlib.Path(__file__).with_name("serve_once.cc")


@pytest.fixture(scope="module")
def serve_once(tmp_path_factory):
    """The compiled program, as a function from arrays to arrays."""
    if shutil.which("g++") is None or platform.system() != "Linux":
        pytest.skip("needs g++ on Linux to compile against TensorFlow")
    tensorflow = pytest.importorskip("tensorflow")
    libraries = os.path.dirname(tensorflow.__file__)
    program = tmp_path_factory.mktemp("program") / "serve_once"
    flags = [
        *tensorflow.sysconfig.get_compile_flags(),
        "-std=c++17",
        "-O1",
        "-w",
    ]
    subprocess.run(
        [
            "g++",
            *flags,
            str(SOURCE),
            "-o",
            str(program),
            f"-L{libraries}",
            "-l:libtensorflow_framework.so.2",
            "-ldl",
            f"-Wl,-rpath,{libraries}",
        ],
        check=True,
    )

    def serve(folder, arrays):
        finished = subprocess.run(
            [str(program), str(folder)],
            input="".join(map(encode, arrays, arrays.values())),
            capture_output=True,
            text=True,
            env={
                **os.environ,
                "LD_LIBRARY_PATH": libraries,
                "TF_CPP_MIN_LOG_LEVEL": "3",
            },
        )
        assert finished.returncode == 0, finished.stderr
        return dict(map(decode, finished.stdout.splitlines()))

    return serve


def encode(name, array):
    """Write an array on a line."""
    words = [name, array.dtype, array.ndim, *array.shape, *array.flatten()]
    return " ".join(map(str, words)) + "\n"


def decode(line):
    """Read an array from a line."""
    name, dtype, rank, *rest = line.split()
    shape = [int(x) for x in rest[: int(rank)]]
    values = np.array(rest[int(rank) :], dtype)
    return name, values.reshape(shape)


# Compiling takes 12 s of processor time, and minutes on a crowded machine.
@pytest.mark.timeout(600)
@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_cpp_program_gets_the_answers_of_the_model(
    serve_once,
    exported,
    language_model,
    exported_sparse,
    sparse_model,
    token_batch,
):
    one_token = {name: array[:1, :1] for name, array in token_batch.items()}
    for request in (token_batch, one_token):
        answer = serve_once(exported, request)
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
    answer = serve_once(exported_sparse, request)
    expected = make_inference_function(sparse_model)(request)
    np.testing.assert_allclose(
        answer["output_0"], expected["output_0"], atol=1e-5
    )
