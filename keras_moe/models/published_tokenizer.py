"""From a published folder to keras-hub's tokenizer."""

from keras_moe.checkpoints.checkpoint_folder import CONFIG
from keras_moe.checkpoints.checkpoint_folder import shorten
from keras_moe.checkpoints.published_settings import GENERATION_CONFIG
from keras_moe.models.json_tokenizer import TOKENIZER_JSON
from keras_moe.models.json_tokenizer import JsonTokenizer
from keras_moe.models.preset_folder import PresetFolder
from keras_moe.models.sentence_piece_tokenizer import SentencePieceTokenizer
from keras_moe.models.tokenizer_files import TOKENIZER_CONFIG
from keras_moe.models.tokenizer_files import read_files

SENTENCE_PIECE = ("tokenizer.model", "spiece.model")
CURE = "Use `preprocessor=None` and pass token ids."


def tokenizer_of(folder, start_token_id=None):
    """Make the tokenizer of a published folder.

    `tokenizer.json` is read as the library that wrote it reads it; without
    one, `tokenizer.model` is, by SentencePiece. Special tokens are those of
    `tokenizer_config.json`, or of `generation_config.json` and `config.json`.
    A start token is put before a text where the published tokenizer does so:
    as `add_bos_token` says, else the template of `tokenizer.json`, else, for
    SentencePiece, if there is one.

    Args:
        folder: path in the layout of Hugging Face, or `PresetFolder`.
        start_token_id: optional int, for published tokenizers that put it
            before a text in code of their own.

    Returns:
        `JsonTokenizer` or `SentencePieceTokenizer`.

    Raises:
        ValueError: If there is no tokenizer of a kind that is known here.
    """
    folder = PresetFolder.of(folder)
    settings = _Settings(folder)
    try:
        tokenizer = _tokenizer(folder.path)
    except Exception as error:  # SentencePiece has no class of its own.
        raise ValueError(
            f"Expected a tokenizer that is known in {folder.path}. Received: "
            f"{error} {CURE}"
        ) from error
    end_token_id, *others = settings.ends(tokenizer)
    pad_token_id = settings.token_id(tokenizer, "pad")
    tokenizer.published_files = read_files(
        folder.path, tokenizer.published_name
    )
    tokenizer.set_special_token_ids(
        end_token_id,
        end_token_id if pad_token_id is None else pad_token_id,
        settings.start(tokenizer) if start_token_id is None else start_token_id,
        others[0] if others else None,
        others,
    )
    return tokenizer


def _tokenizer(folder):
    if (folder / TOKENIZER_JSON).is_file():
        path = folder / TOKENIZER_JSON
        return JsonTokenizer(path.read_text(encoding="utf-8"))
    for name in SENTENCE_PIECE:
        if (folder / name).is_file():
            proto = (folder / name).read_bytes()
            return SentencePieceTokenizer(proto=proto, published_name=name)
    found = sorted(each.name for each in folder.iterdir())
    raise ValueError(
        f"no {TOKENIZER_JSON} or {SENTENCE_PIECE[0]}, only {shorten(found)}."
    )


class _Settings:
    """What the folder's settings say of special tokens."""

    def __init__(self, folder):
        self.folder = folder.path
        self.tokenizer = folder.read(TOKENIZER_CONFIG)
        self.generation = folder.read(GENERATION_CONFIG)
        self.model = folder.read(CONFIG)

    def token_id(self, tokenizer, kind):
        """Return the id of the `"bos"`, `"eos"` or `"pad"` token."""
        name = self.tokenizer.get(f"{kind}_token")
        name = name["content"] if isinstance(name, dict) else name
        if name is not None:
            return self._id_of(tokenizer, name)
        token_ids = self._listed(kind)
        return token_ids[0] if token_ids else None

    def start(self, tokenizer):
        """Return what comes before a text: an id, a list of ids or `None`."""
        add = self.tokenizer.get("add_bos_token")
        if add is None and isinstance(tokenizer, JsonTokenizer):
            starts = tokenizer.template_start()
            return starts[0] if len(starts) == 1 else starts or None
        if add is False:
            return None
        return self.token_id(tokenizer, "bos")

    def ends(self, tokenizer):
        """Return what ends a text, then what may end a generated one too."""
        first = self.token_id(tokenizer, "eos")
        if first is None:
            raise ValueError(
                f"Expected `eos_token` in {TOKENIZER_CONFIG} of {self.folder}. "
                f"Received: {shorten(sorted(self.tokenizer))}. {CURE}"
            )
        return [first, *(each for each in self._listed("eos") if each != first)]

    def _listed(self, kind):
        """List the ids of a kind that the model's settings name."""
        for config in (self.generation, self.model):
            token_ids = config.get(f"{kind}_token_id")
            if not isinstance(token_ids, list):
                token_ids = [token_ids]
            known = [each for each in token_ids if each is not None]
            if known and min(known) >= 0:
                return known
        return []

    def _id_of(self, tokenizer, name):
        added = self.tokenizer.get("added_tokens_decoder", {})
        for token_id, token in added.items():
            if token.get("content") == name:
                return int(token_id)
        token_id = tokenizer.token_to_id(name)
        # SentencePiece takes every unknown name for the unknown token.
        if token_id is None or tokenizer.id_to_token(token_id) != name:
            raise ValueError(
                f"Expected the special token {name!r} of {TOKENIZER_CONFIG} "
                f"in the tokenizer of {self.folder}. Received: no such token. "
                f"{CURE}"
            )
        return token_id
