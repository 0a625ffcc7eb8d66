"""Backbones whose published weights can be loaded and written back."""

import json
import warnings

from keras_moe.checkpoints.checkpoint_format import CheckpointFormat
from keras_moe.checkpoints.load import load_checkpoint
from keras_moe.checkpoints.redundant import tied_head
from keras_moe.checkpoints.save import save_checkpoint
from keras_moe.models.expressible import check_expressible
from keras_moe.models.family_router import settings_of
from keras_moe.models.family_router import with_router
from keras_moe.models.keywords import BY_KERAS
from keras_moe.models.preset_folder import open_preset
from keras_moe.models.registry import register_presets
from keras_moe.models.registry import task_class
from keras_moe.models.tokenizer_files import files_of
from keras_moe.models.tokenizer_files import settings_with

GIB = 2**30


class PublishedBackbone:
    """Reads and writes the layout of Hugging Face.

    Stands before `keras_hub.models.Backbone`.

    Args:
        published_settings: optional dict, as from
            `keras_moe.checkpoints.read_settings`: what the published folder
            said beyond the other arguments. `save_pretrained` writes it
            again; `from_preset`, `save` and `save_to_preset` keep it.

    Attributes:
        checkpoint_format: `keras_moe.checkpoints.CheckpointFormat`, what is
            written and read; `None` for a model without published files.
        other_formats: tuple of others, read only: keras-hub's own class
            of the same model.
        published_presets: dict from the name of a published size to
            constructor arguments.
    """

    checkpoint_format: CheckpointFormat | None = None
    other_formats: tuple = ()
    published_presets: dict = {}
    other_arguments: tuple = (*BY_KERAS, "published_settings")

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        register_presets(cls, vars(cls).get("published_presets", {}))

    def __init__(self, *args, published_settings=None, **kwargs):
        super().__init__(*args, **kwargs)
        self._keep(published_settings)

    def _keep(self, published_settings):
        # As text: Keras wraps dictionaries that layers hold.
        self._published_settings = json.dumps(published_settings)

    @property
    def published_settings(self):
        """dict, what a published folder said; `None` for a new model."""
        return json.loads(self._published_settings)

    def get_config(self):
        config = super().get_config()
        if self.published_settings is not None:
            config["published_settings"] = self.published_settings
        return config

    @classmethod
    def from_preset(cls, preset, load_weights=True, **kwargs):
        """Load a backbone.

        Args:
            preset: path of a folder in the layout of Hugging Face
                (`config.json`, safetensors) or of keras-hub, whose own class
                of the model is read too where there is one, or a handle such
                as `"hf://mistralai/Mixtral-8x7B-v0.1"`.
            load_weights: bool; `False` leaves the weights random.
            **kwargs: constructor arguments that override the folder's, such
                as `dtype="bfloat16"`.

        Returns:
            The backbone.

        Raises:
            ValueError: If files are missing or damaged, or belong to another
                architecture.
        """
        folder = open_preset(preset, load_weights)
        if folder is None:
            return super().from_preset(str(preset), load_weights, **kwargs)
        config = folder.config
        checkpoint_format = cls.format_of(config)
        tensors = folder.tensors if load_weights else None
        arguments = cls.read_arguments(checkpoint_format, config, kwargs)
        if arguments.get("tie_embedding_weights") and not (
            tensors is None or "tie_embedding_weights" in kwargs
        ):
            arguments["tie_embedding_weights"] = _is_tied(
                tensors, checkpoint_format
            )
        backbone = cls(**arguments)
        settings = folder.settings
        if settings is not None:
            if tensors is not None:
                said = checkpoint_format.settings_of(tensors)
                settings["config"].update(said)
            backbone._keep(settings)
        if tensors is not None:
            load_checkpoint(backbone, tensors, checkpoint_format)
        return backbone

    @classmethod
    def read_arguments(cls, checkpoint_format, config, changes=None):
        """Translate a `config.json` to constructor arguments.

        Args:
            checkpoint_format: what wrote it.
            config: dict.
            changes: optional dict of arguments in place of the folder's.

        Returns:
            dict.
        """
        arguments = checkpoint_format.read_config(config)
        return with_router({**arguments, **(changes or {})}, cls)

    @classmethod
    def model_types(cls):
        """Return which `model_type`s this class loads.

        Returns:
            tuple of str.
        """
        return sum((each.model_types for each in cls._formats()), ())

    @classmethod
    def _formats(cls):
        own = () if cls.checkpoint_format is None else (cls.checkpoint_format,)
        return own + cls.other_formats

    @classmethod
    def format_of(cls, config):
        """Find how the files beside a configuration are laid out.

        Args:
            config: dict.

        Returns:
            `keras_moe.checkpoints.CheckpointFormat`.

        Raises:
            ValueError: If it is another class's; names the known ones.
        """
        for each in cls._formats():
            if config.get("model_type") in each.model_types:
                return each
        task = task_class(config)
        raise ValueError(
            f"Expected a folder for `{cls.__name__}`, model_type one of "
            f"{cls.model_types()}. Received: "
            f"model_type={config['model_type']!r}. Use "
            f"`{task.backbone_cls.__name__}` or `{task.__name__}`."
        )

    def save_pretrained(self, path, max_shard_size=5, tokenizer=None):
        """Write weights, settings and tokenizer in the layout of Hugging Face.

        What `from_preset` read and no argument stands for is written as it
        was: ids of special tokens, the length of the context, settings of
        generation. Adapters are merged into the weights that are written.

        Args:
            path: folder; made if it is not there.
            max_shard_size: float, in GiB.
            tokenizer: optional `JsonTokenizer` or `SentencePieceTokenizer`.

        Raises:
            ValueError: If the format cannot express this model, or `path` is
                a file.
        """
        if not isinstance(max_shard_size, int | float) or max_shard_size <= 0:
            raise ValueError(
                "Expected a positive number of GiB. Received: "
                f"max_shard_size={max_shard_size!r}."
            )
        arguments = self.published_arguments()
        checkpoint_format = check_expressible(self, arguments)
        save_checkpoint(
            self,
            path,
            checkpoint_format,
            arguments,
            int(max_shard_size * GIB),
            settings_with(tokenizer, self.published_settings),
            files_of(tokenizer),
        )

    def published_arguments(self):
        """Return what a published configuration may say of this model.

        Returns:
            dict, the constructor's arguments and the router's settings.
        """
        return {**self.get_config(), **settings_of(self.router)}


def _is_tied(folder, checkpoint_format):
    """Whether the files hold no head, or one that equals the embedding."""
    head = tied_head(checkpoint_format.rules)
    if head is None or head[0] not in folder.shapes:
        return True
    name, redundant = head
    if redundant.repeats(folder.read(name), folder, None):
        return True
    warnings.warn(
        f"Expected {name} to repeat {redundant.what}, as config.json says of "
        f"tied embeddings. Received: other numbers in {folder.path}. The model "
        "keeps both matrices, as transformers does.",
        stacklevel=3,
    )
    return False
