"""The largest logit error of every architecture, for docs/models.md.

KERAS_BACKEND=jax python -m tests.models.parity
"""

import importlib
import inspect
from pathlib import Path

import keras
import numpy as np

from tests.models.contract import Contract
from tests.models.contract import batch


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


def main():
    for contract in contracts():
        error = largest_error(contract)
        print(
            f"{contract.task.__name__} {keras.config.backend()} {error:.1e}",
            flush=True,
        )


if __name__ == "__main__":
    main()
