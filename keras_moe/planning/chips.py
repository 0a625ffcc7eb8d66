"""TPU chips and how much memory they have."""

import math
import re
from typing import NamedTuple

from keras_moe.ops.backend import load

GIB = 1024**3
# Memory of a chip in GiB, from the pages of each version under
# https://cloud.google.com/tpu/docs (v4, v5e, v5p, v6e), section "System
# architecture", "HBM2 capacity". XLA leaves a little less to programs.
MEMORY_OF_CHIP = {"v4": 32, "v5e": 16, "v5p": 95, "v6e": 32}
_TOPOLOGY = re.compile(r"(\w+):(\d+(?:x\d+){1,2})")


class Slice(NamedTuple):
    """A part of a pod.

    Attributes:
        name: str, such as `"v5p:4x4x4"`.
        devices: list of `jax.Device`, which hold no data.
        num_chips: int. A chip is one device, of v4 here two.
        memory: int, bytes of one device.
    """

    name: str
    devices: list
    num_chips: int
    memory: int


def open_slice(topology):
    """Describe the devices of a TPU slice that this machine does not have.

    Args:
        topology: str, the chip's version and the shape of the slice.

    Returns:
        `Slice`.

    Raises:
        ImportError: If libtpu is missing.
        ValueError: If the topology is unknown.
    """
    known = ", ".join(MEMORY_OF_CHIP)
    parts = _TOPOLOGY.fullmatch(topology)
    if not parts or parts[1] not in MEMORY_OF_CHIP:
        raise ValueError(
            f"Expected a topology of {known} and a shape, such as v5p:4x4x4. "
            f"Received: topology={topology!r}."
        )
    devices = load("ahead_of_time").tpu_devices(topology)
    num_chips = math.prod(map(int, parts[2].split("x")))
    memory = MEMORY_OF_CHIP[parts[1]] * GIB * num_chips // len(devices)
    return Slice(topology, devices, num_chips, memory)
