"""Prompt and continuation, known apart by the mask on every path."""

import keras
import keras_hub
import numpy as np
import pytest

from keras_moe.models import MixtralBackbone
from keras_moe.models import MixtralCausalLM
from tests.models.backbone_contract import SMALL

LENGTH = 10
LENGTHS = np.array([3, 5, 4])


def make_model(sampler="greedy", **changes):
    """A model whose next token depends on the context, not on rounding."""
    arguments = {**SMALL, "num_layers": 1, "sliding_window": 5, **changes}
    model = MixtralCausalLM(MixtralBackbone(**arguments))
    randomize(model.trainable_weights)
    model.compile(sampler=sampler)
    return model


def randomize(weights, seed=0):
    rng = np.random.default_rng(seed)
    for weight in weights:
        if "norm" not in weight.path:
            weight.assign(rng.normal(scale=0.4, size=weight.shape))


@pytest.fixture(scope="module")
def model():
    return make_model()


def prompts(fill=0):
    """Returns prompts of 3, 5 and 4 tokens in 10 places."""
    token_ids = np.random.default_rng(1).integers(1, 48, (3, LENGTH))
    padding_mask = np.arange(LENGTH) < LENGTHS[:, None]
    token_ids = np.where(padding_mask, token_ids, fill).astype("int32")
    return {"token_ids": token_ids, "padding_mask": padding_mask}


def greedy_without_cache(model):
    """Extend the prompts greedily by the model's own logits."""
    inputs = prompts()
    token_ids, in_prompt = inputs["token_ids"], inputs["padding_mask"]
    for position in range(LENGTHS.min(), LENGTH):
        seen = np.broadcast_to(np.arange(LENGTH) < position, token_ids.shape)
        logits = model.predict_on_batch(
            {"token_ids": token_ids, "padding_mask": seen.astype("int32")}
        )
        best = logits[:, position - 1].argmax(axis=-1)
        token_ids[:, position] = np.where(
            in_prompt[:, position], token_ids[:, position], best
        )
    return token_ids


def until(token_ids, stops):
    """Cut each row after the first generated stop token; by hand."""
    mask = np.ones_like(token_ids, bool)
    for row, length in enumerate(LENGTHS):
        for position in range(length, LENGTH):
            if token_ids[row, position] in stops:
                mask[row, position + 1 :] = False
                break
    return mask


def assert_generated(outputs, token_ids, mask):
    np.testing.assert_array_equal(outputs["padding_mask"], mask)
    np.testing.assert_array_equal(outputs["token_ids"][mask], token_ids[mask])


@pytest.mark.sweep
def test_a_padding_token_may_be_a_stop_token(model):
    free = greedy_without_cache(model)
    # The first ends a row early, the second and third nothing.
    stops = (int(free[0, 5]), 47, 46)
    mask = until(free, stops)
    assert not mask.all()
    for fill in (0, *stops, -100, 10**6):
        outputs = model.generate(prompts(fill), stop_token_ids=stops)
        assert_generated(outputs, free, mask)


# Beams and candidates compile another loop each; the ids are the matter of
# the base class.
@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "make_sampler",
    [
        lambda: keras_hub.samplers.TopKSampler(k=5, seed=1),
        lambda: keras_hub.samplers.TopPSampler(p=0.9, seed=1),
        lambda: keras_hub.samplers.RandomSampler(seed=1),
        lambda: keras_hub.samplers.BeamSampler(num_beams=2),
        lambda: keras_hub.samplers.ContrastiveSampler(k=2, alpha=0.4),
    ],
    ids=["top_k", "top_p", "random", "beam", "contrastive"],
)
def test_no_sampler_looks_at_the_padding(make_sampler):
    model = make_model(make_sampler())
    free = model.generate(prompts(), stop_token_ids=None)["token_ids"]
    in_prompt = prompts()["padding_mask"]
    given = prompts()["token_ids"]
    np.testing.assert_array_equal(free[in_prompt], given[in_prompt])
    stops = (int(free[0, 5]), 47)
    results = []
    for fill in (0, *stops):
        model.compile(sampler=make_sampler())
        results.append(model.generate(prompts(fill), stop_token_ids=stops))
    for result in results:
        assert_generated(
            result, results[0]["token_ids"], results[0]["padding_mask"]
        )
        generated = result["padding_mask"] & ~in_prompt
        assert generated.any(axis=1).all()


@pytest.mark.parametrize("left", [LENGTHS * 0 + 2, np.array([0, 1, 3])])
def test_padding_on_the_left_moves_nothing(model, left):
    free = greedy_without_cache(model)
    right = prompts(fill=7)
    positions = (np.arange(LENGTH) - left[:, None]) % LENGTH
    inputs = {
        name: np.take_along_axis(each, positions, axis=1)
        for name, each in right.items()
    }
    outputs = model.generate(dict(inputs), stop_token_ids=None)
    for row, places in enumerate(left):
        new = outputs["token_ids"][row]
        assert new[places:].tolist() == free[row, : LENGTH - places].tolist()
        assert new[:places].tolist() == [7] * places
        mask = outputs["padding_mask"][row]
        assert mask.tolist() == [place >= places for place in range(LENGTH)]


def test_the_prompt_can_be_left_out(model):
    free = greedy_without_cache(model)
    stops = (int(free[0, 5]), 47, 46)
    outputs = model.generate(
        prompts(fill=stops[0]), stop_token_ids=stops, strip_prompt=True
    )
    mask = until(free, stops)
    for row, length in enumerate(LENGTHS):
        expected = free[row, length:][mask[row, length:]].tolist()
        found = outputs["padding_mask"][row]
        assert outputs["token_ids"][row][found].tolist() == expected
        assert found[: len(expected)].all()


def test_stop_tokens_come_in_any_form(model):
    free = greedy_without_cache(model)
    stop = int(free[0, 5])
    mask = until(free, (stop, 47, 46))
    for stops in ([stop, 47, 46], np.array([stop, 47, 46]), (stop, 47, -1, 46)):
        outputs = model.generate(prompts(), stop_token_ids=stops)
        assert_generated(outputs, free, mask)


def test_nothing_is_compiled_for_prompts_that_cannot_be_continued(model):
    empty = prompts()
    empty["padding_mask"] = empty["padding_mask"] & np.array(
        [[True], [False], [True]]
    )
    with pytest.raises(ValueError, match="row 1, whose padding mask is False"):
        model.generate(empty, stop_token_ids=None)
    hole = prompts()
    hole["padding_mask"][2, 9] = True
    with pytest.raises(ValueError, match="row 2, padding_mask="):
        model.generate(hole, stop_token_ids=None)
    for token_id in (-1, 48):
        unknown = prompts()
        unknown["token_ids"][1, 2] = token_id
        with pytest.raises(ValueError, match=f"id {token_id} in row 1, pos"):
            model.generate(unknown, stop_token_ids=None)


def test_inputs_must_be_token_ids_with_their_mask(model):
    with pytest.raises(ValueError, match=r"Received: \['token_ids'\]"):
        model.generate({"token_ids": np.ones((1, 2))}, stop_token_ids=None)
    with pytest.raises(ValueError, match="Received: str"):
        model.generate("text", stop_token_ids=None)


def test_the_tokenizers_stop_tokens_need_a_tokenizer(model):
    with pytest.raises(ValueError, match="Expected a tokenizer"):
        model.generate(prompts())
    with pytest.raises(ValueError, match="stop_token_ids='never'"):
        model.generate(prompts(), stop_token_ids="never")


@pytest.mark.skipif(
    keras.config.backend() != "torch", reason="a compiler sees all layers once"
)
def test_the_layers_can_be_called_for_every_token(monkeypatch):
    calls = []
    plain = MixtralCausalLM._run_decoder
    monkeypatch.setattr(
        MixtralCausalLM,
        "_run_decoder",
        lambda *arguments: calls.append(arguments) or plain(*arguments),
    )
    sampler = keras_hub.samplers.GreedySampler()
    model = make_model(sampler)
    expected = model.generate(prompts(), stop_token_ids=None)["token_ids"]
    # The prompt, one step as it is, one traced, one to compare with.
    assert len(calls) == 4
    for jit_compile, number in [(False, LENGTH - LENGTHS.min()), ("auto", 3)]:
        calls.clear()
        model.compile(sampler=sampler, jit_compile=jit_compile)
        actual = model.generate(prompts(), stop_token_ids=None)["token_ids"]
        np.testing.assert_array_equal(actual, expected)
        assert len(calls) == 1 + number
    calls.clear()
    model.generate(prompts(), stop_token_ids=None)
    assert len(calls) == 1


# PyTorch's compiler imports what PyTorch warns about.
@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")
@pytest.mark.exhaustive
@pytest.mark.skipif(
    keras.config.backend() != "torch", reason="a compiler sees all layers once"
)
def test_the_layers_operations_can_be_compiled():
    sampler = keras_hub.samplers.GreedySampler()
    model = make_model(sampler)
    expected = model.generate(prompts(), stop_token_ids=None)["token_ids"]
    model.compile(sampler=sampler, jit_compile=True)
    for _ in range(2):
        actual = model.generate(prompts(), stop_token_ids=None)["token_ids"]
        np.testing.assert_array_equal(actual, expected)
