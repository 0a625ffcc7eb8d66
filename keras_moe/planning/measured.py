"""What a compiled program needs and sends, and that of a deeper one."""

from typing import NamedTuple

from keras_moe.planning.collectives import Traffic
from keras_moe.planning.collectives import count_collectives
from keras_moe.planning.depths import extrapolate
from keras_moe.planning.hlo import read_computations
from keras_moe.planning.largest_arrays import largest_arrays


class Measured(NamedTuple):
    """Numbers of one device.

    Attributes:
        memory: dict of bytes: `"weights and slots"` with the batch,
            `"temporary"`, `"results"` that take no argument's place,
            `"code"`.
        collectives: dict from the kind to `Traffic`.
        largest: list of `LargeArray`.
    """

    memory: dict
    collectives: dict
    largest: list


def measure(program):
    """Measure a program.

    Args:
        program: `keras_moe.ops.jax.ahead_of_time.Program`.

    Returns:
        `Measured`.
    """
    computations = read_computations(program.text)
    return Measured(
        {
            "weights and slots": program.arguments,
            "temporary": program.temporary,
            "results": program.results - program.in_place,
            "code": program.code,
        },
        count_collectives(computations),
        largest_arrays(computations),
    )


def measured_of(compiled, sparse):
    """Tell from compiled models what the whole one needs.

    Args:
        compiled: list of `Measured`, as `extrapolate` takes their numbers.
        sparse: list of ints, the same.

    Returns:
        `Measured`; the largest arrays are those of the last one compiled.

    Example:

    >>> one = Measured({"code": 5}, {"all-reduce": Traffic(2, 8)}, [])
    >>> two = Measured({"code": 6}, {"all-reduce": Traffic(3, 10)}, [])
    >>> whole = measured_of([one, two], [1, 2, 4])
    >>> whole.memory, whole.collectives
    ({'code': 8}, {'all-reduce': Traffic(times=5, bytes=14)})
    """
    counts, sizes = (
        extrapolate(
            [
                {kind: each[i] for kind, each in model.collectives.items()}
                for model in compiled
            ],
            sparse,
        )
        for i in range(2)
    )
    return Measured(
        extrapolate([model.memory for model in compiled], sparse),
        {kind: Traffic(counts[kind], sizes[kind]) for kind in counts},
        compiled[-1].largest,
    )
