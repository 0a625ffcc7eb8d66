"""How long it takes until a package is there."""

from match import Contestant
from match import Match
from match import Question


def imports(scale, backends):
    """Import time, over Keras alone and over keras-hub."""
    for backend in backends:
        names = ("keras_alone", "keras_moe_layers", "keras_moe_models")
        contestants = [
            Contestant(name, f"imports:{name}", {}, backend)
            for name in (*names, "keras_hub_models")
        ]
        questions = [
            Question(
                "import keras_moe.layers / keras",
                "keras_moe_layers",
                "keras_alone",
                figure="build_seconds",
            ),
            Question(
                "import keras_moe.models / keras_hub",
                "keras_moe_models",
                "keras_hub_models",
                figure="build_seconds",
            ),
        ]
        yield Match(
            "imports", "in a new process", backend, contestants, questions, 0
        )
