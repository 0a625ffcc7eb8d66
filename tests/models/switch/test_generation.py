"""Tests of cached generation with the Switch Transformer."""

import keras_hub
import numpy as np
import pytest

from keras_moe.models.switch import SwitchSeq2SeqLM
from keras_moe.routing import Capacity


@pytest.fixture
def prompts(sequences):
    """Encoder inputs and prompts of 0, 3 and 2 tokens in 6 places.

    Position 0 holds the start token, also in the row whose mask hides it.
    """
    mask = np.arange(6) < np.array([0, 3, 2])[:, None]
    token_ids = np.array([[0, 3, 5, 7, 7, 7]] * 3)
    return {
        **sequences,
        "decoder_token_ids": np.where(mask, token_ids, 0),
        "decoder_padding_mask": mask.astype("int32"),
    }


def generate_without_cache(compute_logits, inputs):
    """Extend every row greedily by running the whole model each time."""
    token_ids = inputs["decoder_token_ids"].copy()
    in_prompt = np.asarray(inputs["decoder_padding_mask"], bool)
    for index in range(1, token_ids.shape[1]):
        seen = np.broadcast_to(
            np.arange(token_ids.shape[1]) < index, token_ids.shape
        )
        logits = compute_logits(
            {
                **inputs,
                "decoder_token_ids": np.where(seen, token_ids, 0),
                "decoder_padding_mask": seen.astype("int32"),
            }
        )
        best = logits[:, index - 1].argmax(-1)
        token_ids[:, index] = np.where(
            in_prompt[:, index], token_ids[:, index], best
        )
    return token_ids


@pytest.mark.sweep
def test_cached_greedy_equals_uncached_greedy(create_backbone, prompts):
    # 4 = E: every expert has a slot for every token, nothing is dropped.
    model = SwitchSeq2SeqLM(
        create_backbone(
            one_sparse_block_each=False,
            router={"capacity": Capacity(1.25, 4.0)},
        )
    )
    model.compile(sampler="greedy")
    outputs = model.generate(prompts, stop_token_ids=None)
    expected = generate_without_cache(model.predict_on_batch, prompts)
    np.testing.assert_array_equal(outputs["decoder_token_ids"], expected)
    assert outputs["decoder_padding_mask"].all()
    # Had all rows or positions collapsed to one token, equality would be
    # cheap: ask for variety.
    assert len(np.unique(expected)) >= 5


@pytest.mark.sweep
def test_nothing_drops_while_decoding(create_backbone, switch_oracle):
    # One slot per expert and row. The encoder sees one token per row, and a
    # decoding step routes one token per row, so all of them find a slot; one
    # pass over the whole output would drop.
    inputs = {
        "encoder_token_ids": np.array([[3], [8]]),
        "encoder_padding_mask": np.array([[1], [1]]),
        "decoder_token_ids": np.zeros((2, 8), "int32"),
        "decoder_padding_mask": np.array([[1] + [0] * 7] * 2),
    }
    backbone = create_backbone(router={"capacity": Capacity(1.25, 0.1)})
    model = SwitchSeq2SeqLM(backbone)
    model.compile(sampler="greedy")
    outputs = model.generate(inputs, stop_token_ids=None)
    dropless = switch_oracle(backbone, None)
    expected = generate_without_cache(dropless.compute_logits, inputs)
    np.testing.assert_array_equal(outputs["decoder_token_ids"], expected)
    dropping = switch_oracle(backbone, 0.1)
    dropping.compute_logits(
        {
            **inputs,
            "decoder_token_ids": expected,
            "decoder_padding_mask": np.ones_like(expected),
        }
    )
    assert dropping.num_dropped > 0


def test_generation_stops_and_masks_after_the_stop_token(
    create_backbone, prompts, switch_oracle
):
    backbone = create_backbone(router={"capacity": Capacity(1.25, None)})
    oracle = switch_oracle(backbone, None)
    free = generate_without_cache(oracle.compute_logits, prompts)
    generated = ~np.asarray(prompts["decoder_padding_mask"], bool)
    generated[:, 0] = False
    # A token that ends at least one row before its last place. Not 0, which
    # fills the places that are still to be generated.
    candidates = free[:, :-1][generated[:, :-1]]
    stop = int(candidates[candidates > 0][0])
    model = SwitchSeq2SeqLM(backbone)
    model.compile(sampler="greedy")
    outputs = model.generate(prompts, stop_token_ids=(stop, 99))
    for row, may_stop, mask, given in zip(
        free,
        generated,
        outputs["decoder_padding_mask"],
        outputs["decoder_token_ids"],
        strict=True,
    ):
        stops = np.flatnonzero((row == stop) & may_stop)
        end = stops[0] + 1 if len(stops) else len(row)
        assert mask.tolist() == [place < end for place in range(len(row))]
        np.testing.assert_array_equal(given[:end], row[:end])
    assert not outputs["decoder_padding_mask"].all()


@pytest.mark.sweep
def test_beams_find_outputs_at_least_as_likely_as_greedy(
    create_backbone, prompts, switch_oracle
):
    backbone = create_backbone(router={"capacity": Capacity(1.25, None)})
    oracle = switch_oracle(backbone, None)

    def score(token_ids):
        """Add up the log-probabilities of all tokens but the first."""
        mask = np.ones_like(token_ids)
        logits = oracle.compute_logits(
            {
                **prompts,
                "decoder_token_ids": token_ids,
                "decoder_padding_mask": mask,
            }
        )
        log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        chosen = np.take_along_axis(
            log_probs[:, :-1], token_ids[:, 1:, None], axis=-1
        )
        return chosen.sum()

    model = SwitchSeq2SeqLM(backbone)
    model.compile(sampler=keras_hub.samplers.BeamSampler(num_beams=4))
    outputs = model.generate(prompts, stop_token_ids=None)
    in_prompt = np.asarray(prompts["decoder_padding_mask"], bool)
    np.testing.assert_array_equal(
        outputs["decoder_token_ids"][in_prompt],
        prompts["decoder_token_ids"][in_prompt],
    )
    greedy = generate_without_cache(oracle.compute_logits, prompts)
    assert score(outputs["decoder_token_ids"]) >= score(greedy) - 1e-6


def test_the_token_that_fills_the_padding_may_stop(
    create_backbone, prompts, switch_oracle
):
    backbone = create_backbone(router={"capacity": Capacity(1.25, None)})
    free = generate_without_cache(
        switch_oracle(backbone, None).compute_logits, prompts
    )
    model = SwitchSeq2SeqLM(backbone)
    model.compile(sampler="greedy")
    lengths = [1, 3, 2]  # The start token counts in the row that hides it.
    # The padding is 0. Another token ends at least one row early.
    stops = (0, int(free[0, 2]))
    outputs = model.generate(dict(prompts), stop_token_ids=stops)
    stripped = model.generate(
        dict(prompts), stop_token_ids=stops, strip_prompt=True
    )
    for row, length in enumerate(lengths):
        new = free[row, length:].tolist()
        ends = [place for place, each in enumerate(new) if each in stops]
        new = new[: ends[0] + 1] if ends else new
        mask = outputs["decoder_padding_mask"][row]
        found = outputs["decoder_token_ids"][row][mask].tolist()
        assert found == free[row, :length].tolist() + new
        mask = stripped["decoder_padding_mask"][row]
        assert stripped["decoder_token_ids"][row][mask].tolist() == new


def test_inputs_that_mean_nothing_are_refused_by_their_row(
    create_backbone, prompts
):
    model = SwitchSeq2SeqLM(create_backbone())
    empty = {**prompts, "encoder_padding_mask": np.zeros((3, 7), "int32")}
    empty["encoder_padding_mask"][0] = 1
    with pytest.raises(ValueError, match="row of `encoder_token_ids`.* row 1"):
        model.generate(empty, stop_token_ids=None)
    for name in ("encoder_token_ids", "decoder_token_ids"):
        unknown = {**prompts, name: prompts[name].copy()}
        unknown[name][1, 2] = 13
        with pytest.raises(ValueError, match=f"`{name}`.*13 in row 1, posi"):
            model.generate(unknown, stop_token_ids=None)
    hole = {
        **prompts,
        "decoder_padding_mask": np.array([[0, 0, 1, 0, 0, 0]] * 3),
    }
    with pytest.raises(ValueError, match="row 0, padding_mask="):
        model.generate(hole, stop_token_ids=None)
