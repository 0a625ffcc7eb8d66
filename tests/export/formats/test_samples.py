"""Batches to check files with."""

import numpy as np
import pytest

from keras_moe.export.formats.samples import draw_samples
from keras_moe.export.formats.samples import fill_shapes
from keras_moe.export.model_inputs import ModelInput

pytestmark = pytest.mark.once


def integers(*names, shape=(None, None)):
    return [ModelInput(name, shape, "int32") for name in names]


def test_the_inputs_of_one_sequence_are_equally_long():
    inputs = integers("token_ids", "padding_mask")
    assert fill_shapes(inputs, (2, 5)) == {
        "token_ids": (2, 5),
        "padding_mask": (2, 5),
    }


def test_two_sequences_differ_in_length_and_not_in_number():
    inputs = integers(
        "encoder_token_ids",
        "encoder_padding_mask",
        "decoder_token_ids",
        "decoder_padding_mask",
    )
    assert [*fill_shapes(inputs, (2, 5)).values()] == [
        (2, 5),
        (2, 5),
        (2, 6),
        (2, 6),
    ]


def test_sizes_that_the_model_fixes_stay():
    inputs = [ModelInput("x", (None, 3, None), "float32")]
    assert fill_shapes(inputs, (2, 5, 7)) == {"x": (2, 3, 5)}


def test_too_few_sizes_are_refused():
    with pytest.raises(ValueError, match=r"Received: \(2,\) for 'token_ids'"):
        fill_shapes(integers("token_ids"), (2,))


def test_batches_are_ragged_and_within_the_vocabulary():
    inputs = integers("token_ids", "padding_mask")
    first, second = draw_samples(inputs, ((4, 9), (1, 2)), 7, seed=0)
    assert first["token_ids"].shape == first["padding_mask"].shape == (4, 9)
    assert second["token_ids"].shape == (1, 2)
    assert first["token_ids"].dtype == np.int32
    assert 0 <= first["token_ids"].min() <= first["token_ids"].max() < 7
    lengths = first["padding_mask"].sum(axis=1)
    assert len(set(lengths)) > 1 and lengths[0] == 9
