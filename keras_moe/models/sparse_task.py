"""What our tasks share beyond keras-hub's."""

import inspect
from typing import Any

import keras_hub

from keras_moe.models.keywords import BY_KERAS
from keras_moe.models.keywords import check_keywords
from keras_moe.models.restored_task import RestoredTask
from keras_moe.models.sparse_model import SparseModel


class SparseTask(RestoredTask, SparseModel):
    """A task whose tokenizer fits its embedding.

    Stands before keras-hub's task class.
    """

    def __init__(self, *, inputs, outputs, **kwargs):
        self.check_keywords(kwargs)
        super().__init__(inputs=inputs, outputs=outputs, **kwargs)  # type: ignore[call-arg]

    @classmethod
    def check_keywords(cls, given):
        """Refuse keyword arguments that Keras would ignore.

        Args:
            given: dict, those that are not of the class itself.

        Raises:
            TypeError: If there is one; names the nearest known ones.
        """
        own = inspect.signature(cls).parameters
        known = {*own, *BY_KERAS, "compile"} - {"args", "kwargs"}
        check_keywords(given, known, cls.__name__)

    @property
    def preprocessor(self):
        """The preprocessor, or `None`.

        Setting one raises `ValueError` if its tokenizer has more tokens than
        the backbone's embedding.
        """
        return super().preprocessor

    @preprocessor.setter
    def preprocessor(self, preprocessor):
        size = _vocabulary_size(preprocessor)
        # Images have none.
        embedded = getattr(self.backbone, "vocabulary_size", None)
        if size is not None and embedded is not None and size > embedded:
            raise ValueError(
                "Expected a tokenizer of at most as many tokens as the "
                f"embedding has. Received: {size} tokens, "
                f"vocabulary_size={embedded} of the backbone. Use the "
                "tokenizer that belongs to the model, or build a backbone "
                f"with vocabulary_size={size}."
            )
        keras_hub.models.Task.preprocessor.fset(self, preprocessor)

    def quantizable_layers(self):
        """List the layers of the backbone that `quantize` may change.

        A head of the task's own stays float32: a task's configuration has no
        word for another policy.

        Returns:
            list of `keras.layers.Layer`.
        """
        return self.backbone.quantizable_layers()


def _vocabulary_size(preprocessor):
    tokenizer: Any = getattr(preprocessor, "tokenizer", None)
    if not hasattr(tokenizer, "vocabulary_size"):
        return None
    try:
        return tokenizer.vocabulary_size()
    except ValueError:  # Its files come after the constructor, while loading.
        return None
