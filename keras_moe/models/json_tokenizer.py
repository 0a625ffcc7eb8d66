"""A published `tokenizer.json` as a keras-hub tokenizer."""

from pathlib import Path
from typing import Any

import keras
import keras_hub
import numpy as np
from keras import ops
from tokenizers import Tokenizer
from tokenizers import processors

from keras_moe.models.any_backbone import AnyBackbone
from keras_moe.models.published_backbone import PublishedBackbone
from keras_moe.models.special_token_ids import SpecialTokenIds
from keras_moe.models.tokenizer_files import TokenizerFiles

TOKENIZER_JSON = "tokenizer.json"


@keras.saving.register_keras_serializable(package="keras_moe")
class JsonTokenizer(
    TokenizerFiles, SpecialTokenIds, keras_hub.tokenizers.Tokenizer
):
    """Reads a `tokenizer.json` with the library that wrote it.

    Every model (byte-level BPE, BPE with byte fallback, Unigram),
    normalizer and split comes out as published.
    `keras_hub.tokenizers.BytePairTokenizer` has one split for all, in which
    the digits of Qwen's numbers, for one, stay together.

    It runs in Python: `generate`, calls and Grain pipelines take text,
    `tf.data` pipelines do not.

    Args:
        contents: optional str, what the file says; of a saved tokenizer it
            comes as an asset.
        **kwargs: `end_token_id` and the other arguments of `SpecialTokenIds`.

    Call arguments:
        inputs: str or list of str. Special tokens in it are recognized.

    Returns:
        int32 array of shape (L,), or a list of lists of int. Nothing is put
        around them: that is the preprocessor's part.

    Raises:
        ValueError: If the file is damaged.

    Example:

    >>> import tokenizers
    >>> model = tokenizers.models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")])
    >>> contents = tokenizers.Tokenizer(model).to_str()
    >>> tokenizer = JsonTokenizer(contents, end_token_id=1, pad_token_id=1)
    >>> tokenizer(["aba"])
    [[2, 0]]
    >>> tokenizer.detokenize([2, 0])
    'ab a'
    """

    backbone_cls = AnyBackbone(PublishedBackbone)
    default_name = TOKENIZER_JSON
    published_class = "PreTrainedTokenizerFast"

    def __init__(self, contents=None, dtype="int32", **kwargs):
        super().__init__(dtype=dtype, **kwargs)
        self.file_assets = [TOKENIZER_JSON]
        self._contents: Any = None
        self._library_tokenizer = None
        if contents is not None:
            self.set_contents(contents)

    def set_contents(self, contents):
        """Take over what a `tokenizer.json` says.

        Args:
            contents: str.
        """
        try:
            tokenizer = Tokenizer.from_str(contents)
        except Exception as error:  # The library has no class of its own.
            raise ValueError(
                f"Expected the contents of a {TOKENIZER_JSON}. Received: "
                f"{error}. Download it again."
            ) from error
        # Lengths are the preprocessor's part.
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self._library_tokenizer = tokenizer
        self._contents = contents

    def tokenize(self, inputs):
        """Translate text to token ids; as calling the tokenizer."""
        texts, batched = _texts(inputs)
        encoded = self._library().encode_batch(texts, add_special_tokens=False)
        token_ids = [each.ids for each in encoded]
        return token_ids if batched else np.array(token_ids[0], "int32")

    def detokenize(self, inputs):
        """Translate token ids to text.

        Args:
            inputs: list or array of ints of shape (L,), or a batch of them.

        Returns:
            str, or a list of str.
        """
        if hasattr(inputs, "shape"):
            inputs = ops.convert_to_numpy(inputs).tolist()
        rows = [
            each if isinstance(each, int) else [int(one) for one in each]
            for each in inputs
        ]
        if any(isinstance(row, list) for row in rows):
            return self._library().decode_batch(rows, skip_special_tokens=False)
        return self._library().decode(rows, skip_special_tokens=False)

    def call(self, inputs, training=None):
        # Not the base's, which makes TensorFlow's tensors of text.
        return self.tokenize(inputs)

    def get_vocabulary(self):
        """Return all tokens, a list of str in the order of their ids."""
        id_of = self._library().get_vocab()
        return sorted(id_of, key=id_of.__getitem__)

    def vocabulary_size(self):
        """Return how many tokens there are, special ones included."""
        return self._library().get_vocab_size()

    def id_to_token(self, id):
        """Return a token's name, `None` if there is no such token."""
        return self._library().id_to_token(id)

    def token_to_id(self, token):
        """Return a token's id, `None` if there is no such token."""
        return self._library().token_to_id(token)

    @property
    def special_token_ids(self):
        """list of int: token ids stripped from generated text.

        Those that the file calls special too, as transformers'
        `skip_special_tokens` has it.
        """
        added = self._library().get_added_tokens_decoder()
        special = {each for each in added if added[each].special}
        return sorted({*super().special_token_ids, *special})

    def is_special(self, token_id):
        added = self._library().get_added_tokens_decoder()
        return token_id in added and added[token_id].special

    def template_start(self):
        """Return the special tokens that the file puts before a text.

        Returns:
            list of int.
        """
        encoded = self._library().encode("a")
        starts = []
        for token_id, special in zip(
            encoded.ids, encoded.special_tokens_mask, strict=True
        ):
            if not special:
                break
            starts.append(token_id)
        return starts

    def save_assets(self, dir_path):
        path = Path(dir_path) / TOKENIZER_JSON
        path.write_text(self._contents, encoding="utf-8")
        self.save_published_files(dir_path)

    def load_assets(self, dir_path):
        path = Path(dir_path) / TOKENIZER_JSON
        self.set_contents(path.read_text(encoding="utf-8"))
        self.load_published_files(dir_path)

    def published_contents(self):
        contents = self._contents
        if not self.published_files and not self.template_start():
            contents = self._with_start()
        return contents.encode("utf-8")

    def _with_start(self):
        """Let the file put a new tokenizer's start before a text."""
        start = self.start_token_id
        starts = [start] if isinstance(start, int) else [*(start or ())]
        if not starts:
            return self._contents
        tokenizer = Tokenizer.from_str(self._contents)
        names = [tokenizer.id_to_token(each) for each in starts]
        template = processors.TemplateProcessing(
            single=[*names, "$A"],
            special_tokens=[*zip(names, starts, strict=True)],
        )
        before = tokenizer.post_processor
        tokenizer.post_processor = (
            template
            if before is None
            else processors.Sequence([before, template])
        )
        return tokenizer.to_str()

    def _library(self):
        if self._library_tokenizer is None:
            raise ValueError(
                f"Expected a tokenizer with a {TOKENIZER_JSON}. Received: "
                "none yet. Pass `contents` or call `load_assets`."
            )
        return self._library_tokenizer


def _texts(inputs):
    """Make a list of str; say whether it was one."""
    if hasattr(inputs, "numpy"):  # TensorFlow's strings.
        inputs = inputs.numpy()
    if isinstance(inputs, np.ndarray | np.generic):
        inputs = inputs.tolist()
    batched = isinstance(inputs, list | tuple)
    texts = [
        each.decode("utf-8") if isinstance(each, bytes) else each
        for each in (inputs if batched else [inputs])
    ]
    if not all(isinstance(each, str) for each in texts):
        raise ValueError(
            f"Expected text, a str or a list of str. Received: {inputs!r}. In "
            "a tf.data pipeline, tokenize before, or use Grain."
        )
    return texts, batched
