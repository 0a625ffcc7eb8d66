"""Tasks whose published weights can be loaded and written back."""

from keras_moe.models.preset_folder import open_preset
from keras_moe.models.registry import register_task
from keras_moe.models.registry import task_class


class PublishedTask:
    """Reads and writes the layout of Hugging Face.

    Stands before keras-hub's task class; `backbone_cls` is a
    `PublishedBackbone`.
    """

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if "backbone_cls" in vars(cls):
            register_task(cls)

    @classmethod
    def from_preset(cls, preset, load_weights=True, **kwargs):
        """Load a model with its tokenizer.

        Called on `SparseCausalLM`, it picks the class that `config.json`
        asks for.

        Args:
            preset: path of a folder in the layout of Hugging Face
                (`config.json`, safetensors, `tokenizer.json` or
                `tokenizer.model`) or of keras-hub, or a handle such as
                `"hf://mistralai/Mixtral-8x7B-v0.1"`.
            load_weights: bool; `False` leaves the weights random.
            **kwargs: `preprocessor=None` does without a tokenizer; others
                override the backbone's arguments, such as
                `dtype="bfloat16"`.

        Returns:
            The model.

        Raises:
            ValueError: If files are missing or damaged, or belong to another
                architecture.
        """
        folder = open_preset(preset)
        if folder is None:
            return super().from_preset(str(preset), load_weights, **kwargs)
        if cls.backbone_cls is None:
            cls = task_class(folder.config)
        task_arguments = {
            name: kwargs.pop(name)
            for name in ("preprocessor", "name")
            if name in kwargs
        }
        if "preprocessor" not in task_arguments:
            task_arguments["preprocessor"] = cls.published_preprocessor(folder)
        backbone = cls.backbone_cls.from_preset(folder, load_weights, **kwargs)
        return cls(backbone, **task_arguments)  # type: ignore[call-arg]

    @classmethod
    def published_preprocessor(cls, folder):
        """Make the preprocessor of a folder in the layout of Hugging Face.

        Args:
            folder: `PresetFolder`.

        Returns:
            keras-hub preprocessor.

        Raises:
            ValueError: If its tokenizer is not known here.
        """
        raise ValueError(
            f"Expected `preprocessor=None`: `{cls.__name__}` reads no "
            "tokenizers of published folders. Pass token ids to the model."
        )

    def save_pretrained(self, path, max_shard_size=5):
        """Write weights, settings and tokenizer in the layout of Hugging Face.

        What `from_preset` read comes out again: the tokenizer's files, ids of
        special tokens, settings of generation.

        Args:
            path: folder; made if it is not there.
            max_shard_size: float, in GiB.

        Raises:
            ValueError: If the format cannot express this model, or `path` is
                a file.
        """
        tokenizer = getattr(self.preprocessor, "tokenizer", None)
        self.backbone.save_pretrained(path, max_shard_size, tokenizer)
