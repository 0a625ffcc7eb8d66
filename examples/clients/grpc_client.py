"""Continue prompts over gRPC, with the stubs of TensorFlow Serving.

    pip install tensorflow-serving-api
    python examples/clients/grpc_client.py 127.0.0.1:8500 demo "def "

It works with `keras-moe serve` and with TensorFlow Serving, whose gRPC port is
8500.
"""

import argparse

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2
from tensorflow_serving.apis import prediction_service_pb2_grpc
from tokens import apply_chat_template
from tokens import continuations
from tokens import pad
from tokens import read_tokenizer

FLOATS = ("temperature", "top_p")


def generate(server, model, prompts, bearer_token=None, **options):
    """Continue a batch of prompts in one request.

    Args:
        server: host and port, such as `"127.0.0.1:8500"`.
        model: name of the model.
        prompts: list of lists of token ids.
        bearer_token: optional string.
        **options: `max_new_tokens`, `temperature`, `top_k`, `top_p`, `seed`.

    Returns:
        List of lists of token ids, the continuations.
    """
    inputs = pad(prompts)
    for name, value in options.items():
        inputs[name] = [value] * len(prompts)
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = "generate"
    for name, values in inputs.items():
        dtype = "float32" if name in FLOATS else "int32"
        array = np.array(values, dtype)
        request.inputs[name].CopyFrom(tf.make_tensor_proto(array))
    metadata = []
    if bearer_token:
        metadata.append(("authorization", f"Bearer {bearer_token}"))
    with grpc.insecure_channel(server) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        answer = stub.Predict(request, timeout=60, metadata=metadata)
    outputs = {
        name: tf.make_ndarray(value) for name, value in answer.outputs.items()
    }
    return continuations(prompts, outputs)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("server", help="such as 127.0.0.1:8500")
    parser.add_argument("model", help="name of the model")
    parser.add_argument("prompt")
    parser.add_argument("--max-new-tokens", type=int, default=64)
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--chat", action="store_true")
    parser.add_argument("--version-folder", help="has the tokenizer's files")
    parser.add_argument("--bearer-token")
    arguments = parser.parse_args()
    prompt = arguments.prompt
    if arguments.chat:
        prompt = apply_chat_template(arguments.version_folder, prompt)
    tokenizer = read_tokenizer(arguments.version_folder)
    (new,) = generate(
        arguments.server,
        arguments.model,
        [tokenizer.encode(prompt)],
        arguments.bearer_token,
        max_new_tokens=arguments.max_new_tokens,
        temperature=arguments.temperature,
    )
    print(tokenizer.decode(new))


if __name__ == "__main__":
    main()
