"""How long a training step takes, of models that take turns.

Each is a process of its own, as in the benchmarks of speed (`turns.py`): what
slows the machine down slows all of them.
"""

import json

import keras

from match import Contestant
from turns import take_turns

FILE = "clock.json"
FIGURES = ("seconds", "cpu_seconds")


def measure(path, recipes, scale, rounds, show):
    """Write the times of a step of some recipes, unless they are there.

    Args:
        path: `pathlib.Path`.
        recipes: dict from a name to a key of `quality_recipes.RECIPES`.
        scale: str, key of `quality_recipes.SCALES`.
        rounds: int, turns of each.
        show: function of a text that says what is going on.

    Raises:
        RuntimeError: If a recipe could not be timed.
    """
    if sorted(read(path)) == sorted(recipes):
        return
    contestants = [
        Contestant(
            name,
            "language_model:train_recipe",
            {"name": recipe, "scale": scale},
            keras.config.backend(),
        )
        for name, recipe in recipes.items()
    ]
    records = take_turns(contestants, rounds, show)
    for name, record in records.items():
        if "error" in record:
            raise RuntimeError(f"{name}: {record['error']}")
    path.write_text(json.dumps(records, indent=1))


def read(path):
    """Return the times of a file, none if there is no such file.

    Args:
        path: `pathlib.Path`.

    Returns:
        dict from a name to a dict of `FIGURES`, seconds of each
        round, and what `turns.take_turns` says besides.
    """
    return json.loads(path.read_text()) if path.exists() else {}
