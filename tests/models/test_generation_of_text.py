"""Text in, text out, whatever the special tokens are."""

import json

import numpy as np
import pytest
import tokenizers

from keras_moe.models import MixtralBackbone
from keras_moe.models import MixtralCausalLM
from keras_moe.models.sparse_causal_lm_preprocessor import preprocessor_of

VOCABULARY = 40
PROMPT = [38, 5, 6, 7]  # "<s>" and three words
LENGTH = 12


@pytest.fixture(scope="module")
def model():
    model = MixtralCausalLM(
        MixtralBackbone(
            vocabulary_size=VOCABULARY,
            num_layers=1,
            num_query_heads=2,
            num_key_value_heads=1,
            hidden_dim=16,
            intermediate_dim=16,
            num_experts=4,
        )
    )
    rng = np.random.default_rng(1)
    for weight in model.weights:
        if "norm" not in weight.path:
            weight.assign(rng.normal(scale=0.5, size=weight.shape))
    model.compile(sampler="greedy")
    return model


@pytest.fixture(scope="module")
def free(model):
    """Ids that follow the prompt when nothing stops them."""
    token_ids = np.array([PROMPT + [0] * (LENGTH - len(PROMPT))], "int32")
    inputs = {
        "token_ids": token_ids,
        "padding_mask": np.arange(LENGTH)[None] < len(PROMPT),
    }
    model.preprocessor = None
    outputs = model.generate(inputs, stop_token_ids=None)
    return outputs["token_ids"][0, len(PROMPT) :].tolist()


@pytest.fixture
def attach(model, tmp_path):
    """Return a function that attaches a published tokenizer."""
    words = {f"w{index}": index for index in range(38)}
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.WordLevel(
            {**words, "<s>": 38, "</s>": 39}, unk_token="w0"
        )
    )
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(["<s>", "</s>"])
    tokenizer.save(str(tmp_path / "tokenizer.json"))

    def attach(generation=None, **settings):
        settings = {
            "bos_token": "<s>",
            "eos_token": "</s>",
            "add_bos_token": True,
            **settings,
        }
        config = tmp_path / "tokenizer_config.json"
        config.write_text(json.dumps(settings))
        (tmp_path / "generation_config.json").write_text(
            json.dumps(generation or {})
        )
        model.preprocessor = preprocessor_of(tmp_path)
        return model

    return attach


def text(token_ids, stops=()):
    """The text of ids up to the first stop token, without special tokens."""
    words = []
    for token_id in token_ids:
        if token_id in stops:
            break
        words += [f"w{token_id}"] * (token_id < 38)
    return " ".join(words)


@pytest.mark.sweep
@pytest.mark.parametrize(
    "settings",
    [{}, {"pad_token": "</s>"}, {"pad_token": "w0"}, {"pad_token": "w7"}],
    ids=["none", "end", "unknown", "word"],
)
def test_any_token_may_fill_the_padding(attach, free, settings):
    model = attach(**settings)
    expected = text([5, 6, 7, *free], stops=(39,))
    assert len(expected.split()) > 5
    assert model.generate("w5 w6 w7", max_length=LENGTH) == expected


@pytest.mark.sweep
def test_every_listed_end_token_stops(attach, free):
    third = free[2]
    assert third not in free[:2]
    model = attach(generation={"eos_token_id": [39, 36, third, 34]})
    # A word, not a special token: it stays in the text, and nothing follows.
    expected = text([5, 6, 7, *free[:3]])
    assert model.generate("w5 w6 w7", max_length=LENGTH) == expected
    # Inside a prompt it stops nothing.
    prompts = ["w5 w6 w7", f"w5 w{third} w7"]
    outputs = model.generate(prompts, max_length=LENGTH)
    assert outputs[0] == expected
    assert outputs[1].startswith(f"w5 w{third} w7 w")


@pytest.mark.sweep
def test_new_text_alone_comes_on_request(attach, free):
    model = attach(pad_token="</s>")
    expected = text(free, stops=(39,))
    outputs = model.generate("w5 w6 w7", max_length=LENGTH, strip_prompt=True)
    assert outputs == expected


@pytest.mark.sweep
def test_an_empty_text_needs_a_start_token(attach):
    assert attach().generate(["w5", ""], max_length=LENGTH)[1]
    with pytest.raises(ValueError, match="row 1, whose padding mask"):
        attach(add_bos_token=False).generate(["w5", ""], max_length=LENGTH)


def test_labels_are_weighted_by_the_mask_when_padding_is_an_end(attach):
    x, y, weight = attach().preprocessor(["w5 w6"], sequence_length=6)
    # "<s> w5 w6 </s>": three labels, of which the end token is one.
    assert np.asarray(y)[0, :3].tolist() == [5, 6, 39]
    assert np.asarray(weight)[0].tolist() == [True] * 3 + [False] * 3
    assert np.asarray(x["padding_mask"]).sum() == 4
