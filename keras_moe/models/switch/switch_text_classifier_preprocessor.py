"""Text to the inputs of a Switch classifier."""

import keras
import keras_hub

from keras_moe.models.json_tokenizer import JsonTokenizer
from keras_moe.models.preset_folder import open_preset
from keras_moe.models.published_tokenizer import tokenizer_of
from keras_moe.models.switch.switch_backbone import SwitchBackbone


@keras.saving.register_keras_serializable(package="keras_moe")
class SwitchTextClassifierPreprocessor(
    keras_hub.models.TextClassifierPreprocessor
):
    """Tokenizes as T5 does: the text and its end token, then padding.

    keras-hub's own puts a start token first, takes the padding token's id for
    padding, and adds segments, which Switch does not know.

    Args:
        tokenizer: `JsonTokenizer` or `SentencePieceTokenizer`.
        sequence_length: int, in tokens; longer texts are cut off.
        **kwargs: as for `keras_hub.models.TextClassifierPreprocessor`.

    Call arguments:
        x: str or list of str.
        y: optional labels, passed through.
        sample_weight: optional weights, passed through.

    Returns:
        dict of `token_ids`, int32, and `padding_mask`, bool, of shape (B, L);
        with labels, a tuple of it and them.

    Raises:
        ValueError: If `x` is a tuple of several texts.

    Example:

    >>> import tokenizers
    >>> model = tokenizers.models.WordLevel({"<pad>": 0, "</s>": 1, "word": 2})
    >>> contents = tokenizers.Tokenizer(model).to_str()
    >>> tokenizer = JsonTokenizer(contents, end_token_id=1, pad_token_id=0)
    >>> preprocessor = SwitchTextClassifierPreprocessor(tokenizer, 4)
    >>> inputs = preprocessor(["word"])
    >>> keras.ops.convert_to_numpy(inputs["token_ids"]).tolist()
    [[2, 1, 0, 0]]
    """

    backbone_cls = SwitchBackbone
    tokenizer_cls = JsonTokenizer

    @classmethod
    def from_preset(cls, preset, **kwargs):
        """Load the preprocessor of a preset or of a published folder.

        Args:
            preset: path or handle, as for the models' `from_preset`.
            **kwargs: arguments that override those of the preset.

        Returns:
            The preprocessor.

        Raises:
            ValueError: If the tokenizer is of no kind that is known here.
        """
        folder = open_preset(preset, weights=False)
        if folder is None:
            return super().from_preset(str(preset), **kwargs)
        return cls(tokenizer_of(folder), **kwargs)

    def build(self, input_shape):
        # Not earlier: a saved tokenizer's assets come after it is made.
        self.packer = keras_hub.layers.StartEndPacker(
            sequence_length=self.sequence_length,
            end_value=self.tokenizer.end_token_id,
            pad_value=self.tokenizer.pad_token_id,
            return_padding_mask=True,
        )
        self.built = True

    def call(self, x, y=None, sample_weight=None):
        if isinstance(x, tuple):
            if len(x) != 1:
                raise ValueError(
                    "Expected one text for each label. Received: a tuple of "
                    f"{len(x)}. Join them to one text before."
                )
            (x,) = x
        if not self.built:
            self.build(None)
        token_ids, padding_mask = self.packer(
            self.tokenizer(x), sequence_length=self.sequence_length
        )
        inputs = {"token_ids": token_ids, "padding_mask": padding_mask}
        return keras.utils.pack_x_y_sample_weight(inputs, y, sample_weight)
