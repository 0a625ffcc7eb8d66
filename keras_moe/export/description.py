"""What a version folder says of its model, for servers and clients."""

import json
import pathlib
import sys

from keras_moe.callbacks.sparse_layers import find_sparse_layers
from keras_moe.export.quantized_experts import has_int8_experts

FILE = "keras_moe.json"
FORMAT = 1
# By the first class of keras-hub that a task is one of: a `Seq2SeqLM` is a
# `CausalLM` too.
TASKS = {
    "Seq2SeqLM": "seq2seq_lm",
    "CausalLM": "causal_lm",
    "TextClassifier": "classifier",
}


def describe_model(model, tokenizer, endpoints, weights=None):
    """Describe a model for those who serve it.

    Args:
        model: a built `keras.Model`.
        tokenizer: `TokenizerAssets`.
        endpoints: tuple of `Endpoint`, all signatures but `serving_default`.
        weights: `None` or `"int8"`, as for `export_saved_model`.

    Returns:
        A dict of what JSON holds.
    """
    backbone = getattr(model, "backbone", model)
    size = getattr(backbone, "vocabulary_size", None)
    layers = find_sparse_layers(model).values()
    is_int8 = weights == "int8" or has_int8_experts(model)
    return {
        "format": FORMAT,
        "model": type(model).__name__,
        "task": _task(model),
        "vocabulary_size": size if isinstance(size, int) else None,
        "num_experts": [layer.num_experts for layer in layers],
        "sparse_layers": _block_numbers(backbone, layers),
        "stop_token_ids": tokenizer.stop_token_ids,
        "tokenizer": tokenizer.description,
        "chat_template": tokenizer.chat_template,
        "dtype_policy": model.dtype_policy.name,
        "weights": "int8" if is_int8 else "float",
        "signatures": ["serving_default", *(x.name for x in endpoints)],
    }


def read_description(folder):
    """Read what a version folder says of its model.

    Args:
        folder: path of the version.

    Returns:
        A dict, empty for a version without a description.
    """
    file = pathlib.Path(folder) / "assets.extra" / FILE
    return json.loads(file.read_text("utf-8")) if file.is_file() else {}


def write_description(folder, description):
    """Write what `describe_model` returns.

    Args:
        folder: path of the version.
        description: dict.
    """
    file = pathlib.Path(folder) / "assets.extra" / FILE
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(description, indent=2) + "\n", "utf-8")


def _task(model):
    hub = sys.modules.get("keras_hub")
    for name, task in TASKS.items():
        if hub is not None and isinstance(model, getattr(hub.models, name)):
            return task
    return "other"


def _block_numbers(backbone, layers):
    """Number the block that each sparse layer is in.

    Of an encoder and a decoder, the decoder's blocks count on. Without
    blocks, the sparse layers themselves are counted.
    """
    blocks = [
        block
        for name in (
            "decoder_blocks",
            "encoder_transformer_layers",
            "decoder_transformer_layers",
        )
        for block in getattr(backbone, name, ())
    ]
    owner = {
        id(layer): number
        for number, block in enumerate(blocks)
        for layer in find_sparse_layers(block).values()
    }
    return [owner.get(id(x), place) for place, x in enumerate(layers)]
