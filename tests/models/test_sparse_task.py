"""Tasks and the tokenizers that fit them."""

import pytest
import tokenizers
from keras_hub.models import CausalLMPreprocessor

from keras_moe.models import MixtralCausalLM
from keras_moe.models.json_tokenizer import JsonTokenizer
from tests.models import small_backbones

pytestmark = pytest.mark.once


def preprocessor(size):
    words = {f"w{index}": index for index in range(size)}
    library = tokenizers.Tokenizer(
        tokenizers.models.WordLevel(words, unk_token="w0")
    )
    tokenizer = JsonTokenizer(library.to_str(), end_token_id=1, pad_token_id=1)
    return CausalLMPreprocessor(tokenizer, sequence_length=8)


def test_a_tokenizer_larger_than_the_embedding_is_refused():
    backbone = small_backbones.make_task("mixtral").backbone
    with pytest.raises(ValueError, match=r"Received: 49 tokens, vocab.*=48"):
        MixtralCausalLM(backbone, preprocessor(49))
    # A padded vocabulary is larger than the tokenizer.
    model = MixtralCausalLM(backbone, preprocessor(47))
    with pytest.raises(ValueError, match="vocabulary_size=49"):
        model.preprocessor = preprocessor(49)
    assert model.preprocessor.tokenizer.vocabulary_size() == 47


def test_the_seq2seq_and_classifier_look_at_the_tokenizer_too():
    for family in ("switch", "switch_classifier"):
        model = small_backbones.make_task(family)
        with pytest.raises(ValueError, match="Received: 49 tokens"):
            model.preprocessor = preprocessor(49)


def test_a_tokenizer_whose_files_come_later_is_let_in():
    backbone = small_backbones.make_task("mixtral").backbone
    later = CausalLMPreprocessor(JsonTokenizer(end_token_id=1, pad_token_id=1))
    assert MixtralCausalLM(backbone, later).preprocessor is later
