"""The largest logit error of every architecture, for docs/models.md.

KERAS_BACKEND=jax python -m tests.models.parity
"""

import importlib
import inspect
from pathlib import Path

import keras
import numpy as np

from keras_moe.models.switch import SwitchSeq2SeqLM
from tests.models.contract import Contract
from tests.models.contract import batch
from tests.models.switch import test_switch_checkpoint as switch


def contracts():
    """Yield every architecture's test class."""
    folder = Path(__file__).parent
    for file in sorted(folder.glob("*/test_*_checkpoint.py")):
        name = f"tests.models.{file.parent.name}.{file.stem}"
        for value in vars(importlib.import_module(name)).values():
            if (
                inspect.isclass(value)
                and issubclass(value, Contract)
                and value is not Contract
            ):
                yield value


def largest_error(contract):
    """Compare logits of real tokens over configurations and paddings."""
    errors = []
    for name in contract.names:
        for padding in ("none", "right", "left"):
            token_ids, mask = batch(padding)
            expected = contract.reference_logits(name, token_ids, mask)
            actual = contract.logits(contract.model(name), token_ids, mask)
            real = mask.astype(bool)
            errors.append(np.abs(actual[real] - expected[real]).max())
    return max(errors)


def largest_error_of_switch():
    """Compare logits of the decoder's real tokens."""
    errors = []
    for name, padding in switch.CASES:
        inputs = switch.batch(padding)
        expected = switch.their_logits(switch.reference(name), inputs)
        actual = switch.our_logits(switch.ours(name), inputs)
        real = inputs["decoder_padding_mask"].astype(bool)
        errors.append(np.abs(actual[real] - expected[real]).max())
    return max(errors)


def show(task, error):
    print(task.__name__, keras.config.backend(), f"{error:.1e}", flush=True)


def main():
    for contract in contracts():
        show(contract.task, largest_error(contract))
    show(SwitchSeq2SeqLM, largest_error_of_switch())


if __name__ == "__main__":
    main()
