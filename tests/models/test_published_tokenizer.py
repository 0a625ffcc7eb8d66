"""Text in, text out, with the tokenizer of a published folder."""

import inspect
import io
import json
import textwrap
from argparse import ArgumentParser

import keras
import numpy as np
import pytest
import sentencepiece
import tokenizers
from keras import ops
from tokenizers import decoders
from tokenizers import models
from tokenizers import normalizers
from tokenizers import pre_tokenizers
from tokenizers import processors
from tokenizers import trainers
from transformers import AutoTokenizer

from keras_moe.models import MixtralBackbone
from keras_moe.models import MixtralCausalLM
from keras_moe.models.json_tokenizer import JsonTokenizer
from keras_moe.models.openmoe import OpenMoECausalLM
from keras_moe.models.preset_folder import PresetFolder
from keras_moe.models.sparse_causal_lm_preprocessor import preprocessor_of

CORPUS = [
    line
    for object in (ArgumentParser, textwrap, textwrap.TextWrapper, json)
    for line in inspect.getdoc(object).splitlines()
]
TEXTS = [
    "The quick argument parser.",
    "  two spaces,  and\ttabs \n\n and lines  ",
    "année 1984: naïve café – “quotes”, 3.14159",
    "日本語のテキスト と emoji 🦊🦊",
    "e\u0301 composed or not: \u00e9",
    "",
]
VOCABULARY = 400
SPECIAL = ["<s>", "</s>", "<pad>"]
SETTINGS = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
# Digits one by one, as Qwen splits them.
QWEN_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def gpt2():
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer, trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )


def qwen():
    tokenizer, trainer = gpt2()
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(tokenizers.Regex(QWEN_SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    return tokenizer, trainer


def llama():
    """Spaces as a letter of their own, unknown ones as bytes."""
    tokenizer = tokenizers.Tokenizer(
        models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True)
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    fallback = [f"<0x{byte:02X}>" for byte in range(256)]
    return tokenizer, trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<unk>", *SPECIAL, *fallback],
        show_progress=False,
    )


def unigram():
    tokenizer = tokenizers.Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return tokenizer, trainers.UnigramTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<unk>", *SPECIAL],
        unk_token="<unk>",
        show_progress=False,
    )


KINDS = {each.__name__: each for each in (gpt2, qwen, llama, unigram)}


@pytest.fixture(scope="module")
def library():
    """Returns a trained tokenizer of the library by its kind."""
    trained = {}

    def train(kind):
        if kind not in trained:
            tokenizer, trainer = KINDS[kind]()
            tokenizer.train_from_iterator(CORPUS, trainer)
            trained[kind] = tokenizer.to_str()
        return tokenizers.Tokenizer.from_str(trained[kind])

    return train


@pytest.fixture(scope="module")
def proto():
    """Returns the contents of a `tokenizer.model` in the manner of Llama."""
    file = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS),
        model_writer=file,
        vocab_size=VOCABULARY,
        model_type="bpe",
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        minloglevel=2,
    )
    return file.getvalue()


def write(folder, tokenizer=None, **files):
    """Write a folder: `name={...}` becomes `name.json`."""
    for name, contents in files.items():
        (folder / f"{name}.json").write_text(json.dumps(contents))
    if tokenizer is not None:
        tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def write_model(folder):
    backbone = MixtralBackbone(
        vocabulary_size=VOCABULARY,
        num_layers=1,
        num_query_heads=2,
        num_key_value_heads=1,
        hidden_dim=8,
        intermediate_dim=8,
        num_experts=2,
    )
    backbone.save_pretrained(folder)


@pytest.mark.parametrize("kind", list(KINDS))
def test_ids_and_text_equal_the_librarys(library, tmp_path, kind):
    theirs = library(kind)
    write(tmp_path, theirs, tokenizer_config=SETTINGS)
    tokenizer = preprocessor_of(tmp_path).tokenizer
    expected = [theirs.encode(text).ids for text in TEXTS]
    assert tokenizer(TEXTS) == expected
    for text, ids in zip(TEXTS, expected, strict=True):
        assert np.array_equal(tokenizer(text), ids)
        decoded = theirs.decode(ids, skip_special_tokens=False)
        assert tokenizer.detokenize(ids) == decoded
    batch = [ids for ids in expected if len(ids) > 3]
    assert tokenizer.detokenize(batch) == theirs.decode_batch(
        batch, skip_special_tokens=False
    )
    assert tokenizer.vocabulary_size() == theirs.get_vocab_size()
    vocabulary = tokenizer.get_vocabulary()
    assert vocabulary[7] == tokenizer.id_to_token(7) == theirs.id_to_token(7)


@pytest.mark.parametrize("add_bos", [True, False])
@pytest.mark.parametrize("kind", list(KINDS))
def test_generated_text_is_what_transformers_decodes(
    library, tmp_path, kind, add_bos
):
    settings = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    write(
        tmp_path,
        library(kind),
        tokenizer_config={
            **settings,
            "tokenizer_class": "PreTrainedTokenizerFast",
            "add_bos_token": add_bos,
        },
    )
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    preprocessor = preprocessor_of(tmp_path)
    start, end, pad = theirs.convert_tokens_to_ids(["<s>", "</s>", "<pad>"])
    for text in TEXTS:
        ids = [start, *library(kind).encode(text).ids, start, end, pad]
        generated = {
            "token_ids": np.array([[*ids, pad]]),
            "padding_mask": np.array([[True] * len(ids) + [False]]),
        }
        ours = preprocessor.generate_postprocess(generated)
        assert ours == [
            theirs.decode(
                ids,
                skip_special_tokens=True,
                clean_up_tokenization_spaces=False,
            )
        ]


def test_byte_level_text_comes_back_whole(library, tmp_path):
    write(tmp_path, library("gpt2"), tokenizer_config=SETTINGS)
    tokenizer = preprocessor_of(tmp_path).tokenizer
    assert tokenizer.detokenize(tokenizer(TEXTS)) == TEXTS


def test_ids_of_sentence_piece_equal_the_librarys(proto, tmp_path):
    theirs = sentencepiece.SentencePieceProcessor(model_proto=proto)
    (tmp_path / "tokenizer.model").write_bytes(proto)
    write(tmp_path, tokenizer_config={"bos_token": "<s>", "eos_token": "</s>"})
    tokenizer = preprocessor_of(tmp_path).tokenizer
    for text in TEXTS:
        assert np.array_equal(tokenizer(text), theirs.encode(text))
        assert tokenizer.detokenize(theirs.encode(text)) == text
    assert (tokenizer.start_token_id, tokenizer.end_token_id) == (1, 2)
    # No padding token: what ends a text fills it up.
    assert tokenizer.pad_token_id == 2
    assert tokenizer.special_token_ids == [1, 2]


def test_special_tokens_in_a_text_are_recognized(library, tmp_path):
    write(tmp_path, library("gpt2"), tokenizer_config=SETTINGS)
    ids = list(preprocessor_of(tmp_path).tokenizer("a</s>b"))
    assert ids[1] == 1 and len(ids) == 3


@pytest.mark.parametrize("flag", [None, True, False])
@pytest.mark.parametrize("template", [True, False])
def test_a_text_starts_as_published(library, tmp_path, flag, template):
    theirs = library("gpt2")
    if template:
        theirs.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", 0)]
        )
    settings = {**SETTINGS, "bos_token": {"content": "<s>"}}
    if flag is not None:
        settings["add_bos_token"] = flag
    write(tmp_path, theirs, tokenizer_config=settings)
    preprocessor = preprocessor_of(tmp_path)
    starts = template if flag is None else flag
    assert preprocessor.tokenizer.start_token_id == (0 if starts else None)
    text = preprocessor.generate_preprocess(["ab"], sequence_length=5)
    ids, mask = (
        ops.convert_to_numpy(text[name])[0]
        for name in ("token_ids", "padding_mask")
    )
    plain = theirs.encode("ab", add_special_tokens=False).ids
    expected = ([0] if starts else []) + plain
    assert ids[: len(expected)].tolist() == expected
    assert mask.sum() == len(expected)
    assert starts != template or theirs.encode("ab").ids == expected


def test_a_text_may_start_with_several_tokens(library, tmp_path):
    theirs = library("gpt2")
    theirs.post_processor = processors.TemplateProcessing(
        single="<s> <pad> $A </s>",
        special_tokens=[("<s>", 0), ("</s>", 1), ("<pad>", 2)],
    )
    write(tmp_path, theirs, tokenizer_config=SETTINGS)
    x, y, weight = preprocessor_of(tmp_path)(["ab"], sequence_length=6)
    expected = theirs.encode("ab").ids
    x, y, weight = (
        ops.convert_to_numpy(each)[0].tolist()
        for each in (x["token_ids"], y, weight)
    )
    length = len(expected)
    assert x == [*expected, *[2] * (6 - length)]
    assert y == [*expected[1:], *[2] * (7 - length)]
    assert weight == [True] * (length - 1) + [False] * (7 - length)


def test_ids_may_come_from_the_models_settings(library, tmp_path):
    write(
        tmp_path,
        library("gpt2"),
        config={"eos_token_id": 9, "pad_token_id": -1},
        generation_config={"eos_token_id": [1, 5], "pad_token_id": None},
    )
    tokenizer = preprocessor_of(tmp_path).tokenizer
    assert tokenizer.start_token_id is None
    assert (tokenizer.end_token_id, tokenizer.end_token2_id) == (1, 5)
    assert tokenizer.pad_token_id == 1


def test_an_added_token_is_found_by_its_name(proto, tmp_path):
    (tmp_path / "tokenizer.model").write_bytes(proto)
    added = {str(VOCABULARY): {"content": "[PAD]"}}
    settings = {"eos_token": "</s>", "pad_token": "[PAD]"}
    write(
        tmp_path,
        tokenizer_config={**settings, "added_tokens_decoder": added},
    )
    assert preprocessor_of(tmp_path).tokenizer.pad_token_id == VOCABULARY
    write(tmp_path, tokenizer_config=settings)
    with pytest.raises(ValueError, match=r"token '\[PAD\]' .*preprocessor=No"):
        preprocessor_of(tmp_path)


@pytest.mark.sweep
@pytest.mark.parametrize("kind", ["json", "sentence_piece"])
def test_a_published_folder_generates_text(library, proto, tmp_path, kind):
    write_model(tmp_path)
    if kind == "json":
        write(tmp_path, library("gpt2"), tokenizer_config=SETTINGS)
    else:
        (tmp_path / "tokenizer.model").write_bytes(proto)
        settings = {"bos_token": "<s>", "eos_token": "</s>"}
        write(tmp_path, tokenizer_config=settings)
    model = MixtralCausalLM.from_preset(tmp_path)
    model.compile(sampler="greedy")
    text = model.generate("The parser", max_length=12)
    assert isinstance(text, str)
    assert text.startswith("The parser")
    texts = model.generate(["The parser", "a"], max_length=12)
    assert texts[0] == text
    assert texts[1].startswith("a")
    assert (
        MixtralCausalLM.from_preset(tmp_path, preprocessor=None).preprocessor
        is None
    )


@pytest.mark.parametrize("kind", ["json", "sentence_piece"])
def test_a_tokenizer_is_saved_with_its_model(library, proto, tmp_path, kind):
    folder, preset = tmp_path / "published", tmp_path / "preset"
    folder.mkdir()
    write_model(folder)
    settings = {"bos_token": "<s>", "eos_token": "</s>"}
    generation = {"eos_token_id": [2, 3]}
    write(folder, tokenizer_config=settings, generation_config=generation)
    if kind == "json":
        library("llama").save(str(folder / "tokenizer.json"))
    else:
        (folder / "tokenizer.model").write_bytes(proto)
    model = MixtralCausalLM.from_preset(folder)
    model.save_to_preset(str(preset))
    model.save(tmp_path / "model.keras")
    for loaded in (
        MixtralCausalLM.from_preset(str(preset)),
        keras.models.load_model(tmp_path / "model.keras", compile=False),
    ):
        ours, theirs = (
            model.preprocessor.tokenizer,
            loaded.preprocessor.tokenizer,
        )
        assert type(theirs) is type(ours)
        assert theirs(TEXTS[:3]) == ours(TEXTS[:3])
        for name in ("start_token_id", "end_token_id", "pad_token_id"):
            assert getattr(theirs, name) == getattr(ours, name)
        assert theirs.special_token_ids == ours.special_token_ids


def test_openmoe_starts_with_its_padding(library, tmp_path):
    settings = {"eos_token": "</s>", "pad_token": "<s>"}
    write(tmp_path, library("unigram"), tokenizer_config=settings)
    tokenizer = OpenMoECausalLM.published_preprocessor(
        PresetFolder(tmp_path)
    ).tokenizer
    assert tokenizer.start_token_id == 0


def test_text_of_numpy_and_bytes_is_text(library, tmp_path):
    write(tmp_path, library("gpt2"), tokenizer_config=SETTINGS)
    tokenizer = preprocessor_of(tmp_path).tokenizer
    expected = tokenizer(["ab", "c"])
    assert tokenizer(np.array(["ab", "c"])) == expected
    assert tokenizer([b"ab", b"c"]) == expected
    with pytest.raises(ValueError, match="a str or a list of str"):
        tokenizer([1, 2])


def test_folders_without_a_known_tokenizer_are_refused(library, tmp_path):
    with pytest.raises(ValueError, match=r"no tokenizer\.json.*preprocessor=N"):
        preprocessor_of(tmp_path)
    # Llama 3 has such a file in the format of tiktoken.
    (tmp_path / "tokenizer.model").write_text("IQ== 0\nIg== 1\n")
    with pytest.raises(ValueError, match="Use `preprocessor=None`"):
        preprocessor_of(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match="contents of a tokenizer.json"):
        preprocessor_of(tmp_path)
    write(tmp_path, library("gpt2"))
    with pytest.raises(ValueError, match="Expected `eos_token`"):
        preprocessor_of(tmp_path)


def test_a_tokenizer_without_its_file_says_so():
    with pytest.raises(ValueError, match="none yet. Pass `contents`"):
        JsonTokenizer()("text")
