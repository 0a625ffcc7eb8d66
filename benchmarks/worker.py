"""One contestant in a process of its own, working when it is told to.

Reads one JSON command per line from standard input and answers each with one
JSON line on standard output; whatever the frameworks print goes to standard
error. Started by `turns.py`, not by hand.

    {"do": "build", "function": "layer:dense_mlp", "arguments": {...}}
    {"do": "turn"}  -> {"seconds": ..., "cpu_seconds": ..., "repeats": ...}
"""

import importlib
import json
import os
import sys
import time

import peak_memory

START = time.perf_counter()
# Seconds of steps in a turn, as training takes them: one after another.
SHORTEST_TURN = 1.0


class Worker:
    """Builds one contestant and takes its turns."""

    def build(self, function, arguments):
        module, name = function.split(":")
        module = importlib.import_module(f"contestants.{module}")
        imported = time.perf_counter()
        self.contestant = getattr(module, name)(**arguments)
        built = time.perf_counter()
        peak, source = peak_memory.during(self.contestant.step)
        first = time.perf_counter()
        self.contestant.step()
        second = time.perf_counter() - first
        self.repeats = max(1, round(SHORTEST_TURN / max(second, 1e-3)))
        return {
            "import_seconds": imported - START,
            "build_seconds": built - imported,
            "first_step_seconds": first - built,
            "activation_bytes": peak - self.contestant.gradient_bytes,
            "memory_source": source,
            "device": _device(),
            "versions": _versions(),
        }

    def turn(self):
        if self.repeats > 1:
            # The caches and the system's free memory are still the other's.
            self.contestant.step()
        start = time.perf_counter(), time.process_time()
        for _ in range(self.repeats):
            self.contestant.step()
        end = time.perf_counter(), time.process_time()
        seconds, cpu_seconds = (
            (after - before) / self.repeats
            for before, after in zip(start, end, strict=True)
        )
        return {
            "seconds": seconds,
            "cpu_seconds": cpu_seconds,
            "repeats": self.repeats,
        }


def _device():
    import keras

    backend = keras.config.backend()
    if backend == "jax":
        import jax

        return jax.devices()[0].device_kind
    if backend == "torch":
        import torch

        if torch.cuda.is_available():
            return torch.cuda.get_device_name()
    return "cpu"


def _versions():
    """Return the versions of what is loaded in this process."""
    names = ("keras", "jax", "torch", "tensorflow", "keras_hub", "transformers")
    loaded = {name: sys.modules.get(name) for name in names}
    return {
        name: str(getattr(module, "__version__", "?"))
        for name, module in loaded.items()
        if module
    }


def main():
    channel = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    worker = Worker()
    for line in sys.stdin:
        command = json.loads(line)
        answer = getattr(worker, command.pop("do"))(**command)
        channel.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
