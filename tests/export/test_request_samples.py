"""The random requests of verification and warm-up."""

import numpy as np
import pytest

from keras_moe.export.request_samples import RequestInput
from keras_moe.export.request_samples import draw_input
from keras_moe.export.request_samples import draw_requests

# NumPy alone.
pytestmark = pytest.mark.once


def draw(name, dtype, shape=(200, 7), bound=5):
    """Draw one input with a fixed seed."""
    generator = np.random.default_rng(0)
    return draw_input(name, shape, np.dtype(dtype), bound, generator)


def test_integers_fill_the_vocabulary_and_stay_in_it():
    drawn = draw("token_ids", "int32")
    assert drawn.dtype == "int32"
    assert set(np.unique(drawn)) == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("dtype", ["int32", "bool", "float32"])
def test_masks_hide_the_ends_of_rows_but_no_whole_row(dtype):
    mask = draw("encoder_padding_mask", dtype)
    assert mask.dtype == dtype
    lengths = mask.astype("int32").sum(axis=1)
    assert lengths[0] == 7
    assert set(lengths) == {1, 2, 3, 4, 5, 6, 7}
    np.testing.assert_array_equal(
        mask.astype(bool), np.arange(7) < lengths[:, None]
    )


def test_floats_are_standard_normal():
    drawn = draw("features", "float16")
    assert drawn.dtype == "float16"
    assert abs(float(drawn.std()) - 1) < 0.1


def test_bools_are_both():
    assert set(np.unique(draw("flags", "bool"))) == {False, True}


def test_refuses_to_draw_text():
    with pytest.raises(ValueError, match="'text'.*Pass samples"):
        draw("text", object)


def test_prompts_are_bytes_of_a_few_letters():
    drawn = draw("prompt", object, shape=(50,))
    assert drawn.shape == (50,)
    assert {len(each) for each in drawn} == {*range(1, 10)}
    assert b"".join(drawn).decode().islower()


INPUTS = [
    RequestInput("token_ids", (None, None), np.dtype("int32")),
    RequestInput("features", (None, 4, None), np.dtype("float32")),
]


def draw_all(*batch_shapes, seed=0, inputs=INPUTS):
    """Draw requests for two inputs."""
    return draw_requests(inputs, batch_shapes, 5, seed)


def test_sizes_fill_the_open_dimensions_of_every_input():
    first, second = draw_all((1, 4), (3, 7))
    assert first["token_ids"].shape == (1, 4)
    assert first["features"].shape == (1, 4, 4)
    assert second["features"].shape == (3, 4, 7)


def test_the_seed_decides_the_samples():
    [first], [same], [other] = [
        draw_all((9, 9), seed=seed) for seed in (1, 1, 2)
    ]
    np.testing.assert_array_equal(first["token_ids"], same["token_ids"])
    assert (first["token_ids"] != other["token_ids"]).any()


def test_refuses_too_few_sizes():
    message = r"Received: \(3,\) for 'features' .*\(None, 4, None\).*Add"
    with pytest.raises(ValueError, match=message):
        draw_all((3,))


OPTIONAL = [
    INPUTS[0],
    *(
        RequestInput(name, (None,), np.dtype(dtype), optional=True)
        for name, dtype in [
            ("max_new_tokens", "int32"),
            ("temperature", "float32"),
            ("own_option", "int32"),
        ]
    ),
]


def test_the_first_request_leaves_out_what_it_may_but_stays_short():
    first, second = draw_all((2, 4), (4, 7), inputs=OPTIONAL)
    assert {*first} == {"token_ids", "max_new_tokens"}
    assert first["max_new_tokens"].max() < 5
    # What this package does not know keeps its default.
    assert {*second} == {*first, "temperature"}
    assert second["temperature"].dtype == "float32"
    # Greedy rows and rows that are drawn, in one batch.
    np.testing.assert_allclose(second["temperature"], [0.0, 0.7, 1.5, 0.0])
