"""Which implementation of the grouped product serves where, and why.

The one table. A backend's `grouped_kernels.py` holds the code behind the
names; `grouped_matmul` asks here which of them to run. The measurements are
in docs/performance.md.
"""

from typing import NamedTuple

HALF = ("bfloat16", "float16")


class Rule(NamedTuple):
    """One row of the table; a condition that is `None` always holds."""

    backend: str
    implementation: str
    reason: str
    platforms: tuple | None = None
    dtypes: tuple | None = None
    xla: bool | None = None
    aligned: bool | None = None
    most_rows: int | None = None


# For each backend the first rule that fits decides; the last always fits.
TABLE = (
    Rule(
        "jax",
        "row_tiles",
        "a handful of rows, as in decoding, waits for memory: tiles of the "
        "chosen kernels pass through the cache once",
        platforms=("cpu",),
        most_rows=16,
    ),
    Rule(
        "jax",
        "blocks",
        "XLA lowers ragged_dot on CPU to a product of every row with every "
        "kernel; a loop over blocks of one group's rows does the useful work "
        "only",
        platforms=("cpu",),
    ),
    Rule(
        "jax",
        "megablox",
        "XLA has a grouped kernel for ragged_dot, but multiplies E masked "
        "copies of all rows for the kernels' gradient; JAX's Pallas kernel "
        "tgmm does not",
        platforms=("tpu",),
        dtypes=("float32", "bfloat16"),
    ),
    Rule(
        "jax",
        "mosaic_gpu",
        "XLA has no grouped kernel for CUDA; JAX ships Pallas kernels for "
        "Hopper, which take half precision and widths of whole 128; for "
        "others it is long_blocks",
        platforms=("cuda",),
        dtypes=HALF,
    ),
    Rule(
        "jax",
        "long_blocks",
        "XLA multiplies every row with every kernel for ragged_dot on CUDA; a "
        "loop over a known number of blocks of one group's rows does not, nor "
        "does it wait to learn the group sizes",
        platforms=("cuda",),
    ),
    Rule(
        "jax",
        "ragged_dot",
        "XLA has a grouped kernel for it",
    ),
    Rule(
        "torch",
        "grouped_mm",
        "one fused kernel that does not wait to learn the group sizes",
        platforms=("cuda",),
        dtypes=HALF,
        aligned=True,
    ),
    Rule(
        "torch",
        "threads",
        "one mm for each group that has rows, small ones on one thread each: "
        "shared among all threads they take up to half as long again",
        platforms=("cpu",),
    ),
    Rule(
        "torch",
        "loop",
        "one mm for each group that has rows, written straight into its "
        "place; grouped_mm takes half precision on CUDA only",
    ),
    Rule(
        "tensorflow",
        "blocks",
        "XLA cannot split rows by sizes that are known at run time only",
        xla=True,
    ),
    Rule(
        "tensorflow",
        "split",
        "the groups' products run in parallel",
    ),
)


class Choice(NamedTuple):
    """An implementation and the reason for it; prints as a sentence."""

    implementation: str
    reason: str

    def __str__(self):
        return f"{self.implementation}: {self.reason}."


def choose_implementation(
    backend, platform, dtype="float32", num_rows=None, xla=False, aligned=True
) -> Choice:
    """Look up which implementation of `grouped_matmul` serves best.

    Args:
        backend: `"jax"`, `"torch"` or `"tensorflow"`.
        platform: `"cpu"`, `"tpu"`, `"cuda"` or another name of the backend
            for what the program is compiled for.
        dtype: name of the rows' dtype.
        num_rows: int R; `None` if unknown or many.
        xla: bool, whether XLA compiles the program (TensorFlow's
            `jit_compile=True`).
        aligned: bool, whether a row of D numbers and one of F numbers are
            whole 16 bytes.

    Returns:
        `Choice` of `implementation`, a name for
        `grouped_matmul(implementation=...)`, and `reason`.

    Raises:
        ValueError: If no rule knows the backend.

    Example:

    >>> print(choose_implementation("tensorflow", "cpu"))
    split: the groups' products run in parallel.
    """
    for rule in TABLE:
        if (
            rule.backend == backend
            and (rule.platforms is None or platform in rule.platforms)
            and (rule.dtypes is None or dtype in rule.dtypes)
            and (rule.xla is None or rule.xla == xla)
            and (rule.aligned is None or rule.aligned == aligned)
            and (rule.most_rows is None or _at_most(num_rows, rule.most_rows))
        ):
            return Choice(rule.implementation, rule.reason)
    raise ValueError(
        "Expected a backend of the table: "
        f"{sorted({rule.backend for rule in TABLE})}. "
        f"Received: backend={backend!r}. Set KERAS_BACKEND."
    )


def check_implementation(implementation, known):
    """Raise unless `implementation` is `"auto"` or one of the `known`.

    Args:
        implementation: str.
        known: iterable of the active backend's names.

    Raises:
        ValueError: If it is neither; the message lists the known ones.

    Example:

    >>> check_implementation("auto", ["loop"])
    """
    if implementation != "auto" and implementation not in known:
        raise ValueError(
            "Expected `implementation` to be one that this backend has: "
            f"{['auto', *known]}. Received: implementation={implementation!r}"
        )


def _at_most(num_rows, most_rows):
    # A symbolic number of rows counts as many.
    return isinstance(num_rows, int) and num_rows <= most_rows
