"""Preprocessors and tokenizers of presets and published folders."""

import io

import keras
import keras_hub
import numpy as np
import pytest
import sentencepiece
import tokenizers
from keras import ops

from keras_moe.models import MixtralBackbone
from keras_moe.models import MixtralCausalLM
from keras_moe.models import SparseCausalLM
from keras_moe.models import SparseCausalLMPreprocessor
from keras_moe.models import SwitchBackbone
from keras_moe.models import SwitchClassifier
from keras_moe.models import SwitchTextClassifierPreprocessor
from keras_moe.models.json_tokenizer import JsonTokenizer
from keras_moe.models.sentence_piece_tokenizer import SentencePieceTokenizer

WORDS = ["<pad>", "</s>", "<unk>", "a", "b", "c", "d", "e"]


def make_tokenizer():
    vocabulary = {word: i for i, word in enumerate(WORDS)}
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.WordLevel(vocabulary, unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    return JsonTokenizer(tokenizer.to_str(), end_token_id=1, pad_token_id=0)


def make_causal_lm(preprocessor):
    backbone = MixtralBackbone(
        vocabulary_size=8,
        num_layers=1,
        num_query_heads=2,
        num_key_value_heads=1,
        hidden_dim=8,
        intermediate_dim=8,
        num_experts=2,
    )
    return MixtralCausalLM(backbone, preprocessor)


def make_classifier(preprocessor=None):
    backbone = SwitchBackbone(
        vocabulary_size=8,
        num_layers=2,
        num_heads=2,
        hidden_dim=8,
        intermediate_dim=8,
        num_experts=2,
        num_decoder_layers=0,
        dropout=0.0,
    )
    return SwitchClassifier(backbone, num_classes=2, preprocessor=preprocessor)


@pytest.mark.once
@pytest.mark.parametrize("ours", [True, False])
def test_keras_hub_finds_preprocessor_and_tokenizer_of_a_preset(ours, tmp_path):
    classes = keras_hub.models.CausalLMPreprocessor, SparseCausalLMPreprocessor
    made = classes[ours](make_tokenizer(), sequence_length=5)
    make_causal_lm(made).save_to_preset(str(tmp_path))
    for cls in classes:
        loaded = cls.from_preset(str(tmp_path))
        assert isinstance(loaded, classes[1])
        assert loaded.tokenizer(["a e"]) == [[3, 7]]
        # keras-hub drops the settings of another class than it finds.
        assert loaded.sequence_length == (5 if ours else 1024)
        assert cls.from_preset(str(tmp_path), sequence_length=3).sequence_length
    for cls in (keras_hub.models.Tokenizer, JsonTokenizer):
        tokenizer = cls.from_preset(str(tmp_path))
        assert type(tokenizer) is JsonTokenizer
        assert (tokenizer.end_token_id, tokenizer(["a e"])) == (1, [[3, 7]])


@pytest.mark.once
def test_a_published_folder_has_a_preprocessor(tmp_path):
    made = SparseCausalLMPreprocessor(make_tokenizer())
    make_causal_lm(made).save_pretrained(tmp_path)
    loaded = SparseCausalLMPreprocessor.from_preset(tmp_path, sequence_length=4)
    x, _, _ = loaded(["a e"])
    assert ops.convert_to_numpy(x["token_ids"]).tolist() == [[3, 7, 1, 0]]
    assert loaded.tokenizer(["a e"]) == [[3, 7]]
    model = SparseCausalLM.from_preset(tmp_path)
    assert type(model.preprocessor) is SparseCausalLMPreprocessor


@pytest.mark.once
def test_a_folder_without_tokenizer_gets_nobodys(tmp_path):
    make_causal_lm(None).save_pretrained(tmp_path)
    for load in (
        SparseCausalLM.from_preset,
        SparseCausalLMPreprocessor.from_preset,
    ):
        with pytest.raises(ValueError, match="Use `preprocessor=None`"):
            load(tmp_path)


@pytest.mark.once
def test_a_classifier_reads_text_as_t5_does():
    preprocessor = SwitchTextClassifierPreprocessor(make_tokenizer(), 5)
    texts = ["a b", "c", "a b c d e"]
    # T5's tokenizer puts </s> after a text, and cuts before it.
    expected = [[3, 4, 1, 0, 0], [5, 1, 0, 0, 0], [3, 4, 5, 6, 1]]
    x, y, weight = preprocessor(texts, np.array([0, 1, 0]), np.ones(3))
    token_ids = ops.convert_to_numpy(x["token_ids"])
    assert token_ids.tolist() == expected
    mask = ops.convert_to_numpy(x["padding_mask"])
    assert np.array_equal(mask, token_ids != 0)
    assert y.tolist() == [0, 1, 0] and weight.tolist() == [1, 1, 1]
    logits = make_classifier().predict_on_batch(x)
    assert logits.shape == (3, 2) and np.isfinite(logits).all()


@pytest.mark.once
def test_a_classifier_takes_text():
    proto = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a b c", "b a d", "d c a"] * 9),
        model_writer=proto,
        vocab_size=8,
        model_type="char",
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    tokenizer = SentencePieceTokenizer(
        proto=proto.getvalue(), end_token_id=1, pad_token_id=0
    )
    preprocessor = SwitchTextClassifierPreprocessor(tokenizer, 5)
    model, texts = make_classifier(preprocessor), ["a b", "c"]
    by_text = model.predict(texts)
    model.preprocessor = None
    by_ids = model.predict_on_batch(preprocessor(texts))
    np.testing.assert_allclose(by_text, by_ids, atol=1e-5)


@pytest.mark.once
def test_a_padding_token_in_a_text_is_no_padding():
    preprocessor = SwitchTextClassifierPreprocessor(make_tokenizer(), 5)
    mask = preprocessor("a <pad> b")["padding_mask"]
    assert ops.convert_to_numpy(mask).tolist() == [True] * 4 + [False]


@pytest.mark.once
def test_a_classifier_and_its_preprocessor_are_saved(tmp_path):
    preprocessor = SwitchTextClassifierPreprocessor(make_tokenizer(), 5)
    model = make_classifier(preprocessor)
    model.save_to_preset(str(tmp_path / "preset"))
    model.save(tmp_path / "model.keras")
    for loaded in (
        SwitchClassifier.from_preset(str(tmp_path / "preset")).preprocessor,
        keras_hub.models.TextClassifierPreprocessor.from_preset(
            str(tmp_path / "preset")
        ),
        keras.models.load_model(
            tmp_path / "model.keras", compile=False
        ).preprocessor,
    ):
        assert type(loaded) is SwitchTextClassifierPreprocessor
        token_ids = loaded(["a b"])["token_ids"]
        assert ops.convert_to_numpy(token_ids).tolist() == [[3, 4, 1, 0, 0]]


@pytest.mark.once
def test_several_texts_for_one_label_are_refused():
    preprocessor = SwitchTextClassifierPreprocessor(make_tokenizer(), 5)
    with pytest.raises(ValueError, match="a tuple of 2. Join"):
        preprocessor(x=(["a"], ["b"]))
