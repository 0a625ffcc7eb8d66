"""A function that a SavedModel answers with, and what it takes."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Signature(NamedTuple):
    """A function of a model and a dict of tensors, and what it takes.

    Calling it fills in the inputs that are left out, as a server does. The
    tensors may be arrays; on PyTorch, call it under `torch.no_grad()`.

    Attributes:
        function: at the top level of a module, from model and dict of tensors
            to a dict of tensors.
        inputs: tuple of `keras_moe.export.model_inputs.ModelInput`.

    Raises:
        ValueError: If an input is missing or unknown.
    """

    function: Callable
    inputs: tuple

    def __call__(self, model, tensors):
        known = {each.name: each.default for each in self.inputs}
        required = {name for name in known if known[name] is None}
        if not required <= {*tensors} <= {*known}:
            raise ValueError(
                f"Expected the inputs {sorted(required)}, and maybe some of "
                f"{sorted({*known} - required)}. Received: {sorted(tensors)}. "
                "Name each input as the signature does."
            )
        filled = {
            each.name: np.array(each.default, each.dtype)
            for each in self.inputs
            if each.default is not None
        }
        return self.function(model, {**filled, **tensors})
