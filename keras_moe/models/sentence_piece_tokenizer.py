"""A published `tokenizer.model` as a keras-hub tokenizer."""

from pathlib import Path

import keras
import keras_hub

from keras_moe.models.any_backbone import AnyBackbone
from keras_moe.models.published_backbone import PublishedBackbone
from keras_moe.models.special_token_ids import SpecialTokenIds
from keras_moe.models.tokenizer_files import TokenizerFiles


@keras.saving.register_keras_serializable(package="keras_moe")
class SentencePieceTokenizer(
    TokenizerFiles,
    SpecialTokenIds,
    keras_hub.tokenizers.SentencePieceTokenizer,
):
    """keras-hub's SentencePiece tokenizer with special tokens by id.

    Special tokens are put around a text, not looked for in it: "<s>" in a
    text is three or more tokens.

    Args:
        proto: optional bytes, the contents of a `tokenizer.model`; of a
            saved tokenizer they come as an asset.
        **kwargs: `end_token_id` and the other arguments of `SpecialTokenIds`;
            others as for keras-hub's tokenizer.

    Call arguments:
        inputs: str or list of str.

    Returns:
        int32 array of shape (L,), or a list of lists of int.
    """

    backbone_cls = AnyBackbone(PublishedBackbone)
    default_name = "tokenizer.model"
    published_class = "LlamaTokenizer"

    def save_assets(self, dir_path):
        super().save_assets(dir_path)
        self.save_published_files(dir_path)

    def load_assets(self, dir_path):
        # keras-hub's own comes first among the assets.
        self.set_proto((Path(dir_path) / self.file_assets[0]).read_bytes())
        self.load_published_files(dir_path)

    def published_contents(self):
        return self.proto
