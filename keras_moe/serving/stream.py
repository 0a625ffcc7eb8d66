"""Streaming: a request for text becomes short ones, told one by one.

A chunk is a call of `generate` on the text so far. What it draws depends on
the seed and the position alone, so the chunks give what one call would. Each
goes through the queue, so that streams share batches and none blocks it.
"""

import json

import numpy as np

from keras_moe.serving.errors import invalid
from keras_moe.serving.json_arrays import to_array
from keras_moe.serving.language_rules import MAX_NEW_TOKENS
from keras_moe.serving.language_rules import STOP_TOKEN_IDS
from keras_moe.serving.request_rules import find_signature
from keras_moe.serving.tokenizer import TextStream
from keras_moe.serving.tokenizer import encode_prompt

OPTIONS = ("temperature", "top_k", "top_p", "seed")
NAMES = (
    "prompt",
    "token_ids",
    "routing",
    MAX_NEW_TOKENS,
    STOP_TOKEN_IDS,
    *OPTIONS,
)


async def stream_events(predictor, model, content, deadline):
    """Generate text and tell it piece by piece.

    Args:
        predictor: `Predictor`.
        model: `LoadedModel`, held by a lease until the end.
        content: dict, the body of the request.
        deadline: `Deadline`, for the whole stream.

    Yields:
        pairs of event name and dict.

    Raises:
        ServingError: If the request is refused, late, or fails.
    """
    signature = find_signature(model, "generate")
    prompt, options = _read_request(content, model, signature)
    # As a whole: the pieces are smaller than the limits.
    predictor.check(model, signature, {**_inputs(prompt), **options})
    left = int(options.pop(MAX_NEW_TOKENS)[0])
    routing = content.get("routing", False) and _router_stats(model)
    text = TextStream(model.tokenizer, prompt)
    tokens = list(prompt)
    stops = set(options.get(STOP_TOKEN_IDS, _default_stops(signature)).flat)
    load, stopped = None, False
    while not stopped:
        steps = min(left, predictor.limits.stream_chunk)
        outputs = await predictor.predict(
            model,
            signature,
            {**_inputs(tokens), **options, MAX_NEW_TOKENS: np.array([steps])},
            deadline,
        )
        length = int(outputs["lengths"][0])
        new = outputs["token_ids"][0, len(tokens) : length].tolist()
        tokens += new
        left -= len(new)
        stopped = bool(stops.intersection(new[-1:]))
        finished = stopped or left <= 0 or len(new) < steps
        position = length - len(new)
        # One part per token; then what the end leaves of a cut character.
        texts = [
            text.add(tokens[len(prompt) : end])
            for end in range(position + 1, length + 1)
        ]
        if finished:
            texts.append(text.add(tokens[len(prompt) :], final=True))
        data = {
            "token_ids": new,
            "text": "".join(texts),
            "texts": texts,
            "position": position,
        }
        if routing:
            stats = await predictor.predict(
                model, routing, _inputs(tokens), deadline
            )
            chosen = stats["routed_experts"][0]
            data["routed_experts"] = chosen[position:].tolist()
            load = stats["expert_load"][0].tolist()
        if new or data["text"]:
            yield "token", data
        if finished:
            break
    done = {
        "token_ids": tokens[len(prompt) :],
        "text": text.text,
        "lengths": len(tokens),
        "finish_reason": "stop" if stopped else "length",
    }
    yield "done", done if load is None else {**done, "expert_load": load}


def format_event(name, data):
    """Write one server-sent event.

    Args:
        name: string.
        data: dict.

    Returns:
        bytes.
    """
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()


def _read_request(content, model, signature):
    """Return the prompt's tokens and the options as arrays of one row."""
    unknown = sorted(set(content) - set(NAMES))
    if unknown:
        raise invalid(
            f"Expected the names {sorted(NAMES)}. Received: {unknown[:10]}."
        )
    if "token_ids" not in signature.inputs:
        raise invalid(
            "Expected a model that continues one text. Received: a model "
            f"whose generate takes {signature.required}. Use predict."
        )
    if not isinstance(content.get("routing", False), bool):
        raise invalid("Expected routing to be true or false.")
    prompt = _read_prompt(content, model)
    options = {
        name: to_array(name, [content[name]])
        for name in (MAX_NEW_TOKENS, *OPTIONS)
        if name in content
    }
    for name, array in options.items():
        if array.ndim != 1:
            raise invalid(f"Expected {name} to be one number.")
    options.setdefault(
        MAX_NEW_TOKENS, signature.defaults.get(MAX_NEW_TOKENS, np.array([64]))
    )
    if content.get(STOP_TOKEN_IDS):
        options[STOP_TOKEN_IDS] = to_array(
            STOP_TOKEN_IDS, [content[STOP_TOKEN_IDS]]
        )
    return prompt, options


def _read_prompt(content, model):
    if ("prompt" in content) == ("token_ids" in content):
        raise invalid("Expected either prompt or token_ids.")
    if "prompt" in content:
        text = content["prompt"]
        if not isinstance(text, str):
            raise invalid("Expected prompt to be a string.")
        prompt = encode_prompt(model.tokenizer, text)
    else:
        prompt = content["token_ids"]
        if not isinstance(prompt, list) or not all(
            type(token) is int for token in prompt
        ):
            raise invalid("Expected token_ids to be a list of integers.")
    if not prompt:
        raise invalid("Expected a prompt of at least one token. Received: 0.")
    return prompt


def _inputs(tokens):
    token_ids = to_array("token_ids", [tokens])
    return {"token_ids": token_ids, "padding_mask": np.ones_like(token_ids)}


def _default_stops(signature):
    return signature.defaults.get(STOP_TOKEN_IDS, np.array([], "int32"))


def _router_stats(model):
    return model.signatures.get("router_stats")
