"""PyTorch's own random generators, from which Keras' dropout draws."""

import base64

import numpy as np
import torch


def read_random_state():
    """Return the states of the generators of this process.

    Returns:
        dict: `"cpu"` or `"cuda"` -> str, the bytes in base64.
    """
    return {
        name: base64.b64encode(generator.get_rng_state().numpy()).decode()
        for name, generator in _generators().items()
    }


def write_random_state(states):
    """Let the generators go on from states that were read before.

    Args:
        states: dict of `read_random_state`; a device that is not there is
            left out.
    """
    for name, generator in _generators().items():
        if name in states:
            state = np.frombuffer(base64.b64decode(states[name]), "uint8")
            generator.set_rng_state(torch.from_numpy(state.copy()))


def _generators():
    has_gpu = torch.cuda.is_available()
    return {"cpu": torch, **({"cuda": torch.cuda} if has_gpu else {})}
