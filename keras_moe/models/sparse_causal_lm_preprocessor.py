"""Text to token ids, for every decoder-only model."""

import keras
import keras_hub

from keras_moe.models.any_backbone import AnyBackbone
from keras_moe.models.decoder_backbone import DecoderBackbone
from keras_moe.models.json_tokenizer import JsonTokenizer
from keras_moe.models.preset_folder import open_preset
from keras_moe.models.published_tokenizer import tokenizer_of


@keras.saving.register_keras_serializable(package="keras_moe")
class SparseCausalLMPreprocessor(keras_hub.models.CausalLMPreprocessor):
    """keras-hub's preprocessor, which finds itself in presets of ours.

    Args:
        tokenizer: `JsonTokenizer`, `SentencePieceTokenizer` or another of
            keras-hub's.
        **kwargs: as for `keras_hub.models.CausalLMPreprocessor`.

    Example:

    >>> import tokenizers
    >>> model = tokenizers.models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")])
    >>> contents = tokenizers.Tokenizer(model).to_str()
    >>> tokenizer = JsonTokenizer(contents, end_token_id=1, pad_token_id=1)
    >>> preprocessor = SparseCausalLMPreprocessor(tokenizer, sequence_length=4)
    >>> x, y, sample_weight = preprocessor(["aba"])
    >>> keras.ops.convert_to_numpy(x["token_ids"]).tolist()
    [[2, 0, 1, 1]]
    """

    backbone_cls = AnyBackbone(DecoderBackbone)
    tokenizer_cls = JsonTokenizer

    @classmethod
    def from_preset(cls, preset, **kwargs):
        """Load the preprocessor of a preset or of a published folder.

        Args:
            preset: path or handle, as for the models' `from_preset`.
            **kwargs: arguments that override those of the preset, such as
                `sequence_length`.

        Returns:
            The preprocessor.

        Raises:
            ValueError: If the tokenizer is of no kind that is known here.
        """
        folder = open_preset(preset, weights=False)
        if folder is None or folder.is_of_keras_hub:
            return super().from_preset(str(preset), **kwargs)
        return cls(tokenizer_of(folder), **kwargs)


def preprocessor_of(folder, start_token_id=None):
    """Make the preprocessor of a published folder.

    Args:
        folder: path in the layout of Hugging Face, or `PresetFolder`.
        start_token_id: as for `tokenizer_of`.

    Returns:
        `SparseCausalLMPreprocessor`. Its texts have 1024 tokens; set
        `sequence_length` for others.

    Raises:
        ValueError: If there is no tokenizer of a kind that is known here.
    """
    return SparseCausalLMPreprocessor(tokenizer_of(folder, start_token_id))
