"""The peak of memory while a function runs, above what was there before.

On CUDA the allocator's own peak; on CPU the resident set of the process,
whose high-water mark Linux resets through /proc/self/clear_refs.
"""

import ctypes
import gc


def during(function):
    """Return (bytes above the level before, where the number comes from).

    Meant for a function's first run: later ones find what the frameworks'
    pools kept of the earlier ones.
    """
    cuda = _cuda()
    if cuda is not None:
        reset, used, peak = cuda
        reset()
        before = used()
        function()
        return peak() - before, "allocator"
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    before = _status("VmRSS")
    function()
    return _status("VmHWM") - before, "resident set"


def _cuda():
    import keras

    if keras.config.backend() == "torch":
        import torch

        if torch.cuda.is_available():
            return (
                torch.cuda.reset_peak_memory_stats,
                torch.cuda.memory_allocated,
                torch.cuda.max_memory_allocated,
            )
    if keras.config.backend() == "jax":
        import jax

        device = jax.devices()[0]
        if device.platform == "gpu":
            # The peak cannot be reset, but a first step sets it.
            return (
                lambda: None,
                lambda: device.memory_stats()["bytes_in_use"],
                lambda: device.memory_stats()["peak_bytes_in_use"],
            )
    return None


def _status(name):
    with open("/proc/self/status") as file:
        for line in file:
            if line.startswith(name + ":"):
                return int(line.split()[1]) * 1024
    raise OSError(f"Expected {name} in /proc/self/status. Use Linux.")
