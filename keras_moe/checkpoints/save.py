"""From a model to the layout of Hugging Face."""

import json
import os
import re
from pathlib import Path

import keras
import numpy as np

from keras_moe.checkpoints.checkpoint_folder import CONFIG
from keras_moe.checkpoints.checkpoint_folder import INDEX
from keras_moe.checkpoints.checkpoint_folder import WEIGHTS
from keras_moe.checkpoints.exchange import exchange
from keras_moe.checkpoints.load import LONG
from keras_moe.checkpoints.published_settings import GENERATION_CONFIG
from keras_moe.checkpoints.published_settings import SPECIAL_TOKENS
from keras_moe.checkpoints.quantized import refuse_quantized
from keras_moe.checkpoints.rules import match
from keras_moe.checkpoints.rules import to_numpy

# Those of transformers; the first number is one of our earlier version's.
SHARD = re.compile(r"model-(\d+-)?\d{5}-of-\d{5}\.safetensors")


def save_checkpoint(
    model,
    path,
    checkpoint_format,
    arguments,
    max_shard_bytes,
    settings=None,
    files=None,
):
    """Write a model so that transformers reads it.

    The folder holds the older checkpoint or the new one, whatever happens
    while it is written: see `keras_moe.checkpoints.exchange`.

    Args:
        model: backbone.
        path: folder; made if it is not there.
        checkpoint_format: `CheckpointFormat`.
        arguments: dict, the backbone's constructor arguments.
        max_shard_bytes: int; a larger tensor gets a shard of its own.
        settings: optional dict, as from `read_settings`: what else the
            folder shall say.
        files: optional dict of file name -> bytes, such as a tokenizer's.

    Raises:
        ValueError: If a variable has no rule or is quantized, or `path` is a
            file.

    Example:

    >>> import tempfile
    >>> from keras_moe.models import MixtralBackbone
    >>> backbone = MixtralBackbone(
    ...     vocabulary_size=8, num_layers=1, num_query_heads=2,
    ...     num_key_value_heads=1, hidden_dim=4, intermediate_dim=6,
    ...     num_experts=2,
    ... )
    >>> path = Path(tempfile.mkdtemp())
    >>> save_checkpoint(
    ...     backbone, path, backbone.checkpoint_format,
    ...     backbone.published_arguments(), 2**20,
    ... )
    >>> sorted(file.name for file in path.iterdir())
    ['config.json', 'model.safetensors']
    """
    settings = settings or {}
    refuse_quantized(model)
    matches = match(model, checkpoint_format.rules)
    dtype = model.dtype_policy.variable_dtype
    config = checkpoint_format.write_config(arguments, settings.get("config"))
    config.update(settings.get("special_tokens", {}))
    if settings.get("config") is None:
        # Or transformers takes those of another vocabulary.
        config = {**dict.fromkeys(SPECIAL_TOKENS), **config}
    # transformers before 4.56 and others read the older name.
    config.update(dtype=dtype, torch_dtype=dtype)
    objects = {
        CONFIG: config,
        GENERATION_CONFIG: settings.get("generation_config"),
    }
    path = _make_folder(path)
    with exchange(path, _is_owned, (INDEX, WEIGHTS)) as unfinished:
        shards = _write_shards(matches, unfinished, max_shard_bytes)
        _name_shards(shards, unfinished)
        for name, value in objects.items():
            if value is not None:
                (unfinished / name).write_text(json.dumps(value, indent=2))
        for name, contents in (files or {}).items():
            (unfinished / name).write_bytes(contents)


def _make_folder(path):
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise ValueError(
            "Expected a folder to write to, new or old. Received: "
            f"{path}, which is a file or lies in one."
        ) from error
    return path


def _write_shards(matches, folder, max_shard_bytes):
    """Return a list of file, names of its tensors, bytes of its tensors."""
    from safetensors.numpy import save_file

    shards: list[tuple] = []
    shard: dict[str, np.ndarray] = {}
    size = 0

    def flush():
        file = folder / f"shard-{len(shards)}"
        save_file(shard, file, metadata={"format": "pt"})
        size = sum(tensor.nbytes for tensor in shard.values())
        shards.append((file, list(shard), size))
        shard.clear()

    progress = keras.utils.Progbar(len(matches), unit_name="tensor")
    written = 0
    for each in matches:
        arrays = [to_numpy(variable) for variable in each.variables]
        tensors = each.layout.save(arrays, len(each.names))
        for name, tensor in zip(each.names, tensors, strict=True):
            if shard and size + tensor.nbytes > max_shard_bytes:
                flush()
                size = 0
            shard[name] = np.ascontiguousarray(tensor)
            size += tensor.nbytes
            written += tensor.nbytes
        if written > LONG:
            progress.add(1)
    flush()
    return shards


def _name_shards(shards, folder):
    """Give shards their published names, and write their index."""
    if len(shards) == 1:
        os.replace(shards[0][0], folder / WEIGHTS)
        return
    shard_of = {}
    for number, (file, tensors, _) in enumerate(shards, 1):
        name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        os.replace(file, folder / name)
        shard_of.update(dict.fromkeys(tensors, name))
    total = sum(size for *_, size in shards)
    index = {"metadata": {"total_size": total}, "weight_map": shard_of}
    (folder / INDEX).write_text(json.dumps(index, indent=2))


def _is_owned(name):
    """Tell whether a file of an older checkpoint would be wrong of a new."""
    files = (WEIGHTS, INDEX, GENERATION_CONFIG)
    return name in files or bool(SHARD.fullmatch(name))
