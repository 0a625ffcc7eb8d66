"""From a model to the layout of Hugging Face."""

import json
import os
import shutil
import tempfile
from pathlib import Path

import keras
import numpy as np

from keras_moe.checkpoints.checkpoint_folder import CONFIG
from keras_moe.checkpoints.checkpoint_folder import INDEX
from keras_moe.checkpoints.checkpoint_folder import WEIGHTS
from keras_moe.checkpoints.load import LONG
from keras_moe.checkpoints.rules import match
from keras_moe.checkpoints.rules import to_numpy


def save_checkpoint(model, path, architecture, arguments, max_shard_bytes):
    """Write a model so that transformers reads it.

    Written beside `path` first and moved there file by file, `config.json`
    last: what is interrupted leaves no half of a file behind.

    Args:
        model: backbone with `decoder_blocks`.
        path: folder; made if it is not there.
        architecture: `Architecture`.
        arguments: dict, the backbone's constructor arguments.
        max_shard_bytes: int; a larger tensor gets a shard of its own.
    """
    path = Path(path)
    path.mkdir(parents=True, exist_ok=True)
    config = architecture.write_config(arguments)
    config["dtype"] = model.dtype_policy.variable_dtype
    matches = match(model, architecture.rules)
    unfinished = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=path))
    try:
        _write_shards(matches, unfinished, max_shard_bytes)
        (unfinished / CONFIG).write_text(json.dumps(config, indent=2))
        for old in (*path.glob("model*.safetensors"), path / INDEX):
            old.unlink(missing_ok=True)
        names = sorted(
            (file.name for file in unfinished.iterdir()),
            key=lambda name: name == CONFIG,
        )
        for name in names:
            os.replace(unfinished / name, path / name)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _write_shards(matches, folder, max_shard_bytes):
    from safetensors.numpy import save_file

    shards, shard, size = [], {}, 0

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
    _name_shards(shards, folder)


def _name_shards(shards, folder):
    if len(shards) == 1:
        os.replace(shards[0][0], folder / WEIGHTS)
        return
    shard_of = {}
    for index, (file, names, _) in enumerate(shards, 1):
        name = f"model-{index:05d}-of-{len(shards):05d}.safetensors"
        os.replace(file, folder / name)
        shard_of.update(dict.fromkeys(names, name))
    total = sum(size for *_, size in shards)
    index = {"metadata": {"total_size": total}, "weight_map": shard_of}
    (folder / INDEX).write_text(json.dumps(index, indent=2))
