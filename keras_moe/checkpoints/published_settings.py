"""What a published folder says beyond a model's constructor arguments."""

from pathlib import Path

from keras_moe.checkpoints.checkpoint_folder import CONFIG
from keras_moe.checkpoints.checkpoint_folder import read_json

GENERATION_CONFIG = "generation_config.json"
# Settings of `config.json` that would be wrong of other files: who wrote them,
# how their numbers are stored, which code belongs to them.
NOT_KEPT = (
    "_name_or_path",
    "architectures",
    "auto_map",
    "compression_config",
    "dtype",
    "model_type",
    "quantization_config",
    "torch_dtype",
    "transformers_version",
)
SPECIAL_TOKENS = ("bos_token_id", "eos_token_id", "pad_token_id")


def read_settings(folder):
    """Read what `save_pretrained` will write again.

    Args:
        folder: path in the layout of Hugging Face.

    Returns:
        dict of `"config"`, the settings of `config.json` that do not describe
        the files beside it, and `"generation_config"`, that file or `None`.

    Example:

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp())
    >>> _ = (path / CONFIG).write_text(
    ...     '{"model_type": "mixtral", "eos_token_id": 7}'
    ... )
    >>> read_settings(path)
    {'config': {'eos_token_id': 7}, 'generation_config': None}
    """
    folder = Path(folder)
    generation = folder / GENERATION_CONFIG
    return settings_of(
        read_json(folder / CONFIG),
        read_json(generation) if generation.is_file() else None,
    )


def settings_of(config, generation_config):
    """Pick what `save_pretrained` will write again.

    Args:
        config: dict, a folder's `config.json`.
        generation_config: optional dict, its `generation_config.json`.

    Returns:
        dict, as from `read_settings`.
    """
    kept = {key: config[key] for key in config if key not in NOT_KEPT}
    return {"config": kept, "generation_config": generation_config}


def remove(config, key):
    """Remove a setting.

    Args:
        config: dict.
        key: str; a dot enters a dictionary.

    Example:

    >>> config = {"attn_config": {"clip_qkv": 8, "kv_n_heads": 2}}
    >>> remove(config, "attn_config.clip_qkv")
    >>> config
    {'attn_config': {'kv_n_heads': 2}}
    """
    *path, last = key.split(".")
    for part in path:
        config = config.get(part)
        if not isinstance(config, dict):
            return
    config.pop(last, None)
