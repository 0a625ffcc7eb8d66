"""Train a Switch Transformer to restore masked words of Python's sources.

    KERAS_BACKEND=jax python examples/train_switch_seq2seq.py

Text to text as in T5: a span of the input is replaced by one mark, and the
decoder writes what stood there. Tokens are bytes.
"""

import argparse
import pathlib
import sysconfig

import keras
import numpy as np

from keras_moe.callbacks import RoutingMonitor
from keras_moe.models import SwitchBackbone
from keras_moe.models import SwitchSeq2SeqLM

# Bytes that no source file contains serve as marks.
START, MASK = 0, 1
WINDOW, SPAN = 48, 6


def masked_spans(count):
    """Make pairs of a text with a hole and the `SPAN` bytes that fill it."""
    folder = pathlib.Path(sysconfig.get_path("stdlib"))
    source = b"\n".join(p.read_bytes() for p in sorted(folder.glob("*.py")))
    source = np.frombuffer(source, "uint8").astype("int32")
    rng = np.random.default_rng(0)
    starts = rng.integers(0, len(source) - WINDOW, count)
    texts = source[starts[:, None] + np.arange(WINDOW)]
    holes = rng.integers(0, WINDOW - SPAN, count)
    spans = np.take_along_axis(texts, holes[:, None] + np.arange(SPAN), axis=1)
    position = np.arange(WINDOW - SPAN + 1)
    kept = position + np.where(position > holes[:, None], SPAN - 1, 0)
    with_hole = np.take_along_axis(texts, kept, axis=1)
    with_hole[np.arange(count), holes] = MASK
    return with_hole, spans


def as_inputs(texts, spans):
    """Shift the spans right by one: the decoder sees what came before."""
    start = np.full((len(spans), 1), START, "int32")
    decoder = np.concatenate([start, spans[:, :-1]], axis=1)
    return {
        "encoder_token_ids": texts,
        "encoder_padding_mask": np.ones_like(texts),
        "decoder_token_ids": decoder,
        "decoder_padding_mask": np.ones_like(decoder),
    }


def show(text, span):
    text = bytes(text.tolist()).decode("utf-8", "replace").replace("\n", "~")
    span = bytes(span.tolist()).decode("utf-8", "replace").replace("\n", "~")
    return text.replace(chr(MASK), f"[{span}]")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=400)
    arguments = parser.parse_args()
    keras.utils.set_random_seed(0)

    batch_size = 32
    texts, spans = masked_spans(arguments.steps * batch_size)

    model = SwitchSeq2SeqLM(
        SwitchBackbone(
            vocabulary_size=256,
            num_layers=2,
            num_heads=4,
            hidden_dim=64,
            intermediate_dim=128,
            num_experts=8,
            expert_layer_stride=2,
            dropout=0.0,
        )
    )
    model.compile(
        optimizer=keras.optimizers.Adam(3e-3),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        sampler="greedy",
    )
    model.fit(
        as_inputs(texts, spans),
        spans,
        batch_size=batch_size,
        shuffle=False,
        callbacks=[RoutingMonitor()],
    )

    # The decoder starts with START and is asked for SPAN tokens more.
    inputs = as_inputs(texts[:4], np.zeros((4, SPAN + 1), "int32"))
    inputs["decoder_padding_mask"][:, 1:] = 0
    restored = model.generate(inputs, stop_token_ids=None)
    for text, span in zip(texts, restored["decoder_token_ids"], strict=False):
        print(show(text, span[1:]))


if __name__ == "__main__":
    main()
