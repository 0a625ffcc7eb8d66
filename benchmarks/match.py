"""What a contest is made of."""

from typing import NamedTuple


class Contestant(NamedTuple):
    """Who competes: a function of `contestants/`, on a backend."""

    name: str
    function: str  # "module:function" in contestants/
    arguments: dict
    backend: str

    def __str__(self):
        return f"{self.name} ({self.backend})"


class Question(NamedTuple):
    """One figure of a match; of names joined by `|` the fastest counts.

    The ratio of two contestants' `figure` (`seconds`, `first_step_seconds`,
    `build_seconds` or `activation_bytes`) and the largest ratio that meets
    the target; `None` where there is no target. `what` leaves out the
    backend, so that backends share a row of a picture; `backend` says it, if
    the match has several: one of them, or `"best"`.
    """

    what: str
    numerator: str
    denominator: str
    target: float | None = None
    figure: str = "seconds"
    backend: str | None = None


class Match(NamedTuple):
    """One contest. `backend` says on which backend, for the reader."""

    benchmark: str
    case: str
    backend: str
    contestants: list
    questions: list
    rounds: int = 5
