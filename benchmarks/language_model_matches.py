"""Contests of a small language model against keras-hub and transformers."""

from match import Contestant
from match import Match
from match import Question

TRANSFORMERS = ("eager", "grouped_mm")
THEIR_BEST = "|".join(f"transformers {name}" for name in TRANSFORMERS)


def training(scale, backends):
    """The training step of two layers, and the time to the first one."""
    for sizes, over_hub in scale.models:
        arguments = {"sizes": sizes, "batch_size": scale.batch_size}
        questions = [_our_best(backends, 1 / 1.3)]
        for backend in backends:
            questions += [
                Question(
                    "step / transformers' best",
                    backend,
                    THEIR_BEST,
                    1 / 1.1 if backend == "torch" else None,
                    backend=backend,
                ),
                Question(
                    "step / keras-hub, same backend",
                    backend,
                    f"keras-hub {backend}",
                    over_hub,
                    backend=backend,
                ),
                Question(
                    "first step / keras-hub, same backend",
                    backend,
                    f"keras-hub {backend}",
                    1.0,
                    "first_step_seconds",
                    backend=backend,
                ),
            ]
        contestants = _contestants("train", arguments, backends)
        yield Match("training", str(sizes), "all", contestants, questions, 3)


def decoding(scale, backends):
    """Greedy decoding with a cache, four layers."""
    for case, arguments in _decoded(scale):
        questions = [_our_best(backends, 1 / 1.5)]
        for backend in backends:
            questions += [
                Question(
                    "step / transformers' best",
                    backend,
                    THEIR_BEST,
                    backend=backend,
                ),
                Question(
                    "step / keras-hub, same backend",
                    backend,
                    f"keras-hub {backend}",
                    1 / 8,
                    backend=backend,
                ),
            ]
        contestants = _contestants("decode", arguments, backends)
        yield Match("decoding", case, "all", contestants, questions, 2)


def exported(scale, backends):
    """The same decoding by the `generate` of an export, on TensorFlow."""
    for case, arguments in _decoded(scale):
        contestants = [
            Contestant(
                "exported",
                "language_model:decode_exported",
                arguments,
                "tensorflow",
            ),
            *_contestants("decode", arguments, backends)[: len(backends)],
        ]
        questions = [
            Question("exported / our best", "exported", "|".join(backends), 1.5)
        ]
        if "tensorflow" in backends:
            questions.append(
                Question(
                    "exported / in-process TensorFlow",
                    "exported",
                    "tensorflow",
                    1.1,
                )
            )
        yield Match("exported", case, "tensorflow", contestants, questions)


def _decoded(scale):
    """Yield the name and the arguments of each size that is decoded."""
    for batch_size in (1, 8):
        yield (
            f"{scale.decoding} batch {batch_size}",
            {
                "sizes": scale.decoding,
                "batch_size": batch_size,
                "num_tokens": scale.decoded_tokens,
            },
        )


def _our_best(backends, target):
    what = "step / transformers' best"
    ours = "|".join(backends)
    return Question(what, ours, THEIR_BEST, target, backend="best")


def _contestants(what, arguments, backends):
    def contestant(name, function, backend, **more):
        function = f"language_model:{what}_{function}"
        return Contestant(name, function, {**arguments, **more}, backend)

    return [
        *(contestant(name, "keras_moe", name) for name in backends),
        *(
            contestant(f"keras-hub {name}", "keras_hub", name)
            for name in backends
        ),
        *(
            contestant(
                f"transformers {name}",
                "transformers",
                "torch",
                implementation=name,
            )
            for name in TRANSFORMERS
        ),
    ]
