"""Continue prompts over HTTP, with the standard library alone.

    python examples/clients/http_client.py http://127.0.0.1:8501 demo "def "

`generate` works with TensorFlow Serving too, whose REST port is 8501. `stream`
needs `keras-moe serve`.
"""

import argparse
import json
import urllib.error
import urllib.request

from tokens import apply_chat_template
from tokens import continuations
from tokens import pad
from tokens import read_tokenizer


def post(url, body, bearer_token=None):
    """Send JSON and return the open answer; a refusal is a RuntimeError."""
    headers = {"Content-Type": "application/json"}
    if bearer_token:
        headers["Authorization"] = f"Bearer {bearer_token}"
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    try:
        return urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        raise RuntimeError(json.load(error)["error"]) from error


def generate(server, model, prompts, bearer_token=None, **options):
    """Continue a batch of prompts in one request.

    Args:
        server: address, such as `"http://127.0.0.1:8501"`.
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
    body = {"signature_name": "generate", "inputs": inputs}
    url = f"{server}/v1/models/{model}:predict"
    with post(url, body, bearer_token) as answer:
        return continuations(prompts, json.load(answer)["outputs"])


def stream(server, model, prompt, bearer_token=None, **options):
    """Yield the continuation of a text piece by piece.

    Args:
        server, model, bearer_token, **options: as for `generate`.
        prompt: string.
    """
    url = f"{server}/v1/models/{model}:stream"
    with post(url, {"prompt": prompt, **options}, bearer_token) as answer:
        name = None
        for line in answer:
            field, _, value = line.decode().strip().partition(": ")
            if field == "event":
                name = value
            elif field == "data":
                data = json.loads(value)
                if name == "error":
                    raise RuntimeError(data["error"])
                if name == "token":
                    yield data["text"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("server", help="such as http://127.0.0.1:8501")
    parser.add_argument("model", help="name of the model")
    parser.add_argument("prompt")
    parser.add_argument("--max-new-tokens", type=int, default=64)
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--stream", action="store_true")
    parser.add_argument("--chat", action="store_true")
    parser.add_argument("--version-folder", help="has the tokenizer's files")
    parser.add_argument("--bearer-token")
    arguments = parser.parse_args()
    prompt = arguments.prompt
    if arguments.chat:
        prompt = apply_chat_template(arguments.version_folder, prompt)
    settings = {
        "bearer_token": arguments.bearer_token,
        "max_new_tokens": arguments.max_new_tokens,
        "temperature": arguments.temperature,
    }
    target = arguments.server.rstrip("/"), arguments.model
    if arguments.stream:
        for text in stream(*target, prompt, **settings):
            print(text, end="", flush=True)
        print()
        return
    tokenizer = read_tokenizer(arguments.version_folder)
    (new,) = generate(*target, [tokenizer.encode(prompt)], **settings)
    print(tokenizer.decode(new))


if __name__ == "__main__":
    main()
