"""A published `tokenizer.model` as a keras-hub tokenizer."""

from pathlib import Path

import keras
import keras_hub

from keras_moe.models.special_token_ids import SpecialTokenIds


@keras.saving.register_keras_serializable(package="keras_moe")
class SentencePieceTokenizer(
    SpecialTokenIds, keras_hub.tokenizers.SentencePieceTokenizer
):
    """keras-hub's SentencePiece tokenizer with special tokens by id.

    Special tokens are put around a text, not looked for in it: "<s>" in a
    text is three or more tokens.

    Args:
        proto: optional bytes, the contents of a `tokenizer.model`; of a
            saved tokenizer they come as an asset.
        **kwargs: `end_token_id`, `pad_token_id`, `start_token_id` and
            `end_token2_id` as for `SpecialTokenIds`; others as for keras-hub's
            tokenizer.

    Call arguments:
        inputs: str or list of str.

    Returns:
        int32 array of shape (L,), or a list of lists of int.
    """

    def load_assets(self, dir_path):
        (name,) = self.file_assets
        self.set_proto((Path(dir_path) / name).read_bytes())
