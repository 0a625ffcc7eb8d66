"""All that is to know of a published architecture's files."""

import copy
import re
from collections.abc import Callable
from typing import Any
from typing import NamedTuple

from keras_moe.checkpoints.checkpoint_folder import shorten
from keras_moe.checkpoints.published_settings import remove

REQUIRED: Any = object()
# Two spellings of the same: written together or not at all.
ROPE_KEYS = (
    "partial_rotary_factor",
    "rope_parameters",
    "rope_scaling",
    "rope_theta",
)


class Field(NamedTuple):
    """One setting under their name and under ours.

    Attributes:
        theirs: key in `config.json`; a dot enters a dictionary.
        ours: constructor argument.
        default: if the key is absent or null: a value, or a function of
            their config; `REQUIRED` is an error.
        also: other keys for the same, read only.
    """

    theirs: str
    ours: str
    default: Any = REQUIRED
    also: tuple = ()

    def read(self, config):
        """Return the setting's value, or its default."""
        for key in (self.theirs, *self.also):
            value = look_up(config, key)
            if value is not None:
                return value
        return self.default(config) if callable(self.default) else self.default


# What nearly every decoder's `config.json` calls the same.
DECODER_FIELDS = (
    Field("vocab_size", "vocabulary_size"),
    Field("num_hidden_layers", "num_layers"),
    Field("num_attention_heads", "num_query_heads"),
    Field("hidden_size", "hidden_dim"),
)


class CheckpointFormat(NamedTuple):
    """How a published architecture lies on disk.

    Attributes:
        model_type: `model_type` in `config.json`.
        class_name: what `architectures` in `config.json` says.
        fields: tuple of `Field`.
        rules: tuple of `keras_moe.checkpoints.Rule`.
        fixed: dict, settings that we know one value of; another is an error.
        read_more: function of their config, returns more of our arguments.
        write_more: function of our arguments, returns more of their config.
        ignored: regular expressions of tensors that the model does without,
            or a function of their config that returns them.
        redundant: tuple of `Redundant`, tensors that repeat others.
        without_ignored: dict, what `config.json` says of files without the
            ignored tensors.
        also_model_types: other model types with the same files.
        defaults: function of our arguments, returns what else is written for
            other readers, unless a folder said something else.
        always: function of our arguments, returns settings that are written
            even if a folder said something else.

    Example:

    >>> toy = CheckpointFormat(
    ...     model_type="toy",
    ...     class_name="ToyForCausalLM",
    ...     fields=(
    ...         Field("hidden_size", "hidden_dim"),
    ...         Field("rms_norm_eps", "layer_norm_epsilon", 1e-5),
    ...     ),
    ...     rules=(),
    ... )
    >>> toy.read_config({"model_type": "toy", "hidden_size": 8})
    {'hidden_dim': 8, 'layer_norm_epsilon': 1e-05}
    >>> toy.write_config({"hidden_dim": 8, "layer_norm_epsilon": 1e-6})
    ... # doctest: +NORMALIZE_WHITESPACE
    {'architectures': ['ToyForCausalLM'], 'model_type': 'toy',
     'hidden_size': 8, 'rms_norm_eps': 1e-06}
    """

    model_type: str
    class_name: str
    fields: tuple
    rules: tuple
    fixed: dict = {}
    read_more: Callable = lambda config: {}
    write_more: Callable = lambda arguments: {}
    ignored: tuple | Callable = ()
    redundant: tuple = ()
    without_ignored: dict = {}
    also_model_types: tuple = ()
    defaults: Callable = lambda arguments: {}
    always: Callable = lambda arguments: {}

    @property
    def model_types(self):
        """All model types with these files."""
        return self.model_type, *self.also_model_types

    def read_config(self, config):
        """Translate a `config.json` to constructor arguments.

        Args:
            config: dict.

        Returns:
            dict.

        Raises:
            ValueError: If a key is missing or a setting unknown to us.
        """
        self._check(config)
        arguments = {}
        missing = []
        for field in self.fields:
            value = field.read(config)
            if value is REQUIRED:
                missing.append(field.theirs)
            arguments[field.ours] = value
        if missing:
            raise ValueError(
                f"Expected a {self.model_type} config.json with "
                f"{shorten(missing)}. Received: {shorten(sorted(config), 40)}."
            )
        return {**arguments, **self.read_more(config)}

    def write_config(self, arguments, original=None):
        """Translate constructor arguments to a `config.json`.

        Args:
            arguments: dict, all of them.
            original: optional dict, the settings that the model came with.
                They change only where the arguments say something else.

        Returns:
            dict.
        """
        config = {
            **self.defaults(arguments),
            **copy.deepcopy(original or {}),
            "architectures": [self.class_name],
            "model_type": self.model_type,
        }
        if original is None:
            changed = [*self.fields]
            settings = dict(self.fixed)
            more = self.write_more(arguments)
        else:
            changed = [
                field
                for field in self.fields
                if not _same(field.read(original), arguments[field.ours])
            ]
            settings, more = {}, {}
            if self._more_has_changed(arguments, original):
                more = self.write_more(arguments)
                for key in ROPE_KEYS:
                    remove(config, key)
        for field in changed:
            for key in field.also:
                remove(config, key)
            settings[field.theirs] = arguments[field.ours]
        settings.update({**more, **self.always(arguments)})
        for key, value in settings.items():
            _put(config, key, value)
        return config

    def _more_has_changed(self, arguments, original):
        more = self.read_more(original)
        return not all(_same(more[name], arguments[name]) for name in more)

    def ignored_in(self, config):
        """Return which tensors of a folder the model does without.

        Args:
            config: dict, the folder's `config.json`.

        Returns:
            tuple of regular expressions.
        """
        return self.ignored(config) if callable(self.ignored) else self.ignored

    def settings_of(self, folder):
        """Return what a folder without ignored tensors says.

        Args:
            folder: `CheckpointFolder`.

        Returns:
            dict, changes of `config.json`.
        """
        patterns = self.ignored_in(folder.config)
        names = " ".join(folder.shapes)
        ignored = any(re.search(pattern, names) for pattern in patterns)
        return self.without_ignored if ignored else {}

    def _check(self, config):
        for key, known in self.fixed.items():
            value = look_up(config, key)
            if value is not None and value != known:
                raise ValueError(
                    f"Expected {key}={known!r} of a {self.model_type}: no "
                    f"other is known here. Received: {value!r}."
                )


def look_up(config, key, default=None):
    """Look up a setting.

    Args:
        config: dict.
        key: str; a dot enters a dictionary.
        default: if it is absent.

    Returns:
        Its value, `default` if it is absent or null.

    Example:

    >>> look_up({"attn_config": {"kv_n_heads": 2}}, "attn_config.kv_n_heads")
    2
    """
    value = config
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return default if value is None else value


def query_heads(config):
    """Return how many query heads there are: the default of key/value heads.

    Args:
        config: dict.

    Returns:
        int, or `None`.

    Example:

    >>> query_heads({"num_attention_heads": 4})
    4
    """
    return look_up(config, "num_attention_heads")


def _same(first, second):
    if isinstance(first, tuple):  # A default; JSON has lists.
        first = list(first)
    return first == (list(second) if isinstance(second, tuple) else second)


def _put(config, key, value):
    *path, last = key.split(".")
    for part in path:
        if not isinstance(config.get(part), dict):
            config[part] = {}
        config = config[part]
    config[last] = value
