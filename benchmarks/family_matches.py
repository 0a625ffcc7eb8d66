"""Each published architecture against transformers' own rendering of it."""

from contestants.family import FAMILIES
from match import Contestant
from match import Match
from match import Question


def families(scale, backends):
    """The forward pass of two layers with 32 experts, 4 per token."""
    for model_type in FAMILIES:
        arguments = {"model_type": model_type, "batch_size": scale.batch_size}
        contestants = [
            Contestant(
                "transformers", "family:transformers", arguments, "torch"
            )
        ]
        questions = []
        for backend in backends:
            contestants.append(
                Contestant(backend, "family:keras_moe", arguments, backend)
            )
            questions.append(
                Question(
                    "forward pass / transformers",
                    backend,
                    "transformers",
                    backend=backend,
                )
            )
        yield Match("families", model_type, "all", contestants, questions, 3)
