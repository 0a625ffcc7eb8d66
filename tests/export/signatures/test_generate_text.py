"""Bytes in and bytes out."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_moe.export.signatures.byte_text import bytes_of
from keras_moe.export.signatures.byte_text import text_of
from tests.export.signatures.answers import answer
from tests.export.signatures.answers import answer_traced
from tests.models.small_backbones import make_task
from tests.models.test_generative_task import randomize

PROMPTS = ["ab", "Grüße", "", b"\xff\x00c"]
ROWS = [each.encode() if isinstance(each, str) else each for each in PROMPTS]


def test_texts_become_their_bytes_and_come_back():
    token_ids, mask = (ops.convert_to_numpy(x) for x in bytes_of(PROMPTS))
    assert token_ids.shape == mask.shape == (4, len("Grüße".encode()))
    for row, text in enumerate(ROWS):
        expected = [*text] + [0] * (token_ids.shape[1] - len(text))
        assert token_ids[row].tolist() == expected
        assert mask[row].sum() == len(text)
    back = np.array(text_of(token_ids, mask)).tolist()
    assert back == ROWS
    # What is cut in the middle of a character stays bytes.
    cut = text_of(token_ids[1:2], np.arange(token_ids.shape[1])[None] < 3)
    assert np.array(cut).tolist() == [b"Gr\xc3"]


@pytest.fixture(scope="module")
def model():
    model = make_task("mixtral", vocabulary_size=256, num_layers=1)
    randomize(model.trainable_weights)
    return model


@pytest.mark.sweep(first=1)
@pytest.mark.parametrize("kind", ["graph", "live"])
def test_texts_are_continued_as_their_bytes_are(model, kind):
    if kind == "graph" and keras.backend.backend() != "tensorflow":
        pytest.skip("of TensorFlow's graphs")
    options = {
        "max_new_tokens": np.array([5, 3, 4, 0], "int32"),
        "temperature": np.array([0.0, 1.0, 0.7, 1.0], "float32"),
        "seed": np.array([0, 1, 2, 3], "int32"),
    }
    call = (
        answer_traced(model, "generate_text")
        if kind == "graph"
        else lambda request: answer(model, "generate_text", request)
    )
    outputs = call({"prompt": PROMPTS, **options})
    token_ids, mask = (ops.convert_to_numpy(x) for x in bytes_of(PROMPTS))
    expected = answer(
        model,
        "generate",
        {"token_ids": token_ids, "padding_mask": mask, **options},
    )
    for name in ("token_ids", "lengths"):
        np.testing.assert_array_equal(outputs[name], expected[name])
    for row, text in enumerate(ROWS):
        # The empty prompt counts as one byte.
        new = expected["token_ids"][row, max(len(text), 1) :]
        new = new[: options["max_new_tokens"][row]]
        assert outputs["text"][row] == bytes(new.tolist())
